#!/usr/bin/env bash
# All tests, on a fresh Debian machine. The last line is "N passed, N failed, N skipped".
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh test
make --no-print-directory build lint
export CGO_ENABLED=0 PIER_BIN="$PWD/bin"
# Tests of rooms come first; those under test/ drive the built programs and measure, so they run one package at a time.
{
	go test -count=1 -timeout 15m -json $(go list ./... | grep -v '^pier/test/') || true
	go test -count=1 -timeout 25m -p 1 -json ./test/... || true
} | go run ./test/report
