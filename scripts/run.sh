#!/usr/bin/env bash
# What `make run` does once the binaries are built: daemon, image, container, page.
set -euo pipefail
cd "$(dirname "$0")/.."
pier() { bin/pier -H "unix://$EXEC_ROOT/pier.sock" "$@"; }
say() { printf '\n\033[1m==>\033[0m %s\n' "$*"; }
[ -t 1 ] || say() { printf '\n==> %s\n' "$*"; }

if pier version >/dev/null 2>&1; then
	say "pierd is running already: it and its supervisor go on with the programs as they are now"
	# shellcheck disable=SC2086 # PIERD_FLAGS is a list of words
	bin/pierd upgrade --data-root "$DATA_ROOT" --exec-root "$EXEC_ROOT" ${PIERD_FLAGS:-}
else
	say "Starting pierd (data in $DATA_ROOT, log in $DATA_ROOT/pierd.log)"
	mkdir -p -m 0711 "$DATA_ROOT"
	# A session of its own: pierd must not die with this terminal.
	# shellcheck disable=SC2086 # PIERD_FLAGS is a list of words
	setsid bin/pierd --data-root "$DATA_ROOT" --exec-root "$EXEC_ROOT" ${PIERD_FLAGS:-} -H "unix://$EXEC_ROOT/pier.sock" >>"$DATA_ROOT/pierd.log" 2>&1 </dev/null &
	for _ in $(seq 600); do
		pier version >/dev/null 2>&1 && break
		kill -0 $! 2>/dev/null || { echo "pierd ended; its last words:" >&2; tail -n 20 "$DATA_ROOT/pierd.log" >&2; exit 1; }
		sleep 0.1
	done
	pier version >/dev/null
fi

say "Building examples/hello"
pier build -t hello examples/hello

say "Running it: port $PORT, at most 64 MiB of memory"
pier rm -f hello >/dev/null 2>&1 || true
pier run -d --name hello -p "$PORT:8080" --memory 64m hello >/dev/null

printf 'Waiting until it is healthy '
for _ in $(seq 300); do
	health=$(pier inspect -f '{{.State.Health.Status}}' hello)
	[ "$health" = healthy ] && break
	printf .
	sleep 0.2
done
echo " $health"
[ "$health" = healthy ] || { pier logs hello >&2; exit 1; }
curl -fsS "http://127.0.0.1:$PORT/" | grep -q "Hello from Pier"

pier ps
again='' first=''
[ "$EXEC_ROOT" = /run/pier ] || first=", after  export PIER_HOST=unix://$EXEC_ROOT/pier.sock"
[ "$PORT" = 8080 ] || again+=" PORT=$PORT"
[ "$DATA_ROOT" = /var/lib/pier ] || again+=" DATA_ROOT=$DATA_ROOT"
[ "$EXEC_ROOT" = /run/pier ] || again+=" EXEC_ROOT=$EXEC_ROOT"
cat <<TEXT

The page:  http://127.0.0.1:$PORT/

Five things to try next$first:
  bin/pier logs hello                    what the container printed
  bin/pier exec hello /hello check       one more process inside it
  bin/pier inspect hello                 everything known about it
  eval "\$(bin/pier env)" && docker ps    the stock docker command, unchanged
  kill -9 \$(cat $EXEC_ROOT/pierd.pid); curl http://127.0.0.1:$PORT/; make run$again
                                         the daemon dies, the container does not notice
TEXT
