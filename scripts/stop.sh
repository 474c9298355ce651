#!/usr/bin/env bash
# Ends what `make run` started. With --purge nothing of it stays on the machine.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x bin/pierd ] || { echo "nothing to stop: bin/pierd was never built"; exit 0; }
purge=${1:-}

# shellcheck disable=SC2086 # PIERD_FLAGS is a list of words
bin/pierd stop --data-root "$DATA_ROOT" --exec-root "$EXEC_ROOT" ${PIERD_FLAGS:-}
if [ "$purge" = --purge ]; then
	bin/pierd cleanup --data --data-root "$DATA_ROOT" --exec-root "$EXEC_ROOT" ${PIERD_FLAGS:-}
fi
