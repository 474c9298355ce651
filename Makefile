# Everything a newcomer needs: `make run`, then `make test`. `make help` lists the rest.
SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

LDFLAGS := -s -w
GO      := CGO_ENABLED=0 go

# Where `make run` keeps its daemon. The socket is the default one, so that bin/pier needs no flag.
DATA_ROOT ?= /var/lib/pier
EXEC_ROOT ?= /run/pier
PORT      ?= 8080

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: bin/pier bin/pier-tls bin/pierd bin/pier-runtime ## build the static binaries into bin/

SOURCES := go.mod go.sum $(shell find api cli client cmd daemon kernel lib runtime -name '*.go' -not -name '*_test.go' 2>/dev/null)

# The linker fills its output page by page, and so it lies in memory. A copy lies there in larger pieces, as an installed
# program does, and every start maps it faster: 0.3 ms less for `pier`.
bin/%: $(SOURCES)
	@mkdir -p bin
	$(GO) build -trimpath -buildvcs=auto -ldflags '$(LDFLAGS)' -o $@.linked ./cmd/$*
	@cp $@.linked $@.copied && mv -f $@.copied $@ && rm $@.linked

examples/hello/hello: examples/hello/main.go
	$(GO) build -trimpath -ldflags '-s -w' -o $@ ./examples/hello

.PHONY: run
run: ## build Pier, start pierd, build examples/hello and run it
	@scripts/setup.sh run
	@$(MAKE) --no-print-directory build examples/hello/hello
	@DATA_ROOT=$(DATA_ROOT) EXEC_ROOT=$(EXEC_ROOT) PORT=$(PORT) scripts/run.sh

.PHONY: stop
stop: ## stop the containers and pierd that `make run` started
	@DATA_ROOT=$(DATA_ROOT) EXEC_ROOT=$(EXEC_ROOT) scripts/stop.sh

.PHONY: clean
clean: ## stop, and remove everything that was built, stored or set up
	@DATA_ROOT=$(DATA_ROOT) EXEC_ROOT=$(EXEC_ROOT) scripts/stop.sh --purge
	rm -rf bin .cache examples/hello/hello

.PHONY: test
test: ## install what the tests need and run all of them
	@scripts/test.sh

.PHONY: test-vm
test-vm: ## run Pier on Debian's own kernels, in virtual machines
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory build
	PIER_BIN=$(CURDIR)/bin $(GO) test -count=1 -v ./test/vm

.PHONY: test-vm-arm64
test-vm-arm64: ## run Pier for arm64 on Debian's kernel, on an emulated processor
	@scripts/setup.sh arm64
	@$(MAKE) --no-print-directory build
	PIER_BIN=$(CURDIR)/bin PIER_VM_ARCH=arm64 $(GO) test -count=1 -timeout 60m -v ./test/vm

.PHONY: test-crash
test-crash: ## kill daemon and supervisor before every step of every operation
	@scripts/setup.sh test
	@$(MAKE) --no-print-directory build
	PIER_BIN=$(CURDIR)/bin PIER_KILL_MATRIX=full $(GO) test -count=1 -timeout 30m -v -run TestKillMatrix ./test/crash

.PHONY: race
race: ## test with the race detector (needs a C compiler, which it installs)
	@scripts/race.sh

.PHONY: bench
bench: ## measure against Debian's docker.io on this machine (BENCH="-only WORD", BENCH=-heavy for all rows)
	@scripts/setup.sh bench
	@$(MAKE) --no-print-directory build
	@scripts/bench.sh $(BENCH)

.PHONY: lint
lint: ## gofmt, go vet and the rules of the layout
	@test -z "$$(gofmt -l $$(git ls-files '*.go' ':!*/testdata/*'))" || { gofmt -l $$(git ls-files '*.go' ':!*/testdata/*'); echo "gofmt would change these files: run gofmt -w on them"; exit 1; }
	$(GO) vet ./...
	$(GO) test -count=1 ./test/rules
