#!/usr/bin/env bash
# Runs bench/ in a network namespace of its own, so that neither daemon touches the machine's bridges and rules.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p .cache
CGO_ENABLED=0 go build -o .cache/bench ./bench
export PIER_BIN="$PWD/bin"
exec unshare --net -- bash -c 'ip link set lo up && exec .cache/bench "$@"' bench "$@"
