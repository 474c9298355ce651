#!/usr/bin/env bash
# Tests with Go's race detector, which needs cgo and a C compiler. First those of the rooms, then pierd as a whole under
# tests that kill and stop what it works with; a race ends it there, and the test fails.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh race
# Not with cgo: those that clone children without the C library's knowledge, and a test that enters an empty root.
without='^pier/(kernel/spawn|runtime/oci|runtime/command|daemon/command)$'
CGO_ENABLED=1 go test -race -count=1 -p 1 -timeout 15m $(go list ./api/... ./cli/... ./client/... ./daemon/... ./kernel/... ./lib/... ./runtime/... | grep -v -E "$without") |
	{ grep --line-buffered -v '\[no test files\]' || true; }

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
CGO_ENABLED=0 go build -o "$bin/" ./cmd/pier ./cmd/pier-runtime
CGO_ENABLED=1 go build -race -o "$bin/" ./cmd/pierd
CGO_ENABLED=0 PIER_BIN=$bin GORACE="halt_on_error=1 atexit_sleep_ms=0" go test -count=1 -p 1 -timeout 25m ./test/stuck ./test/crash
