# Needs Go, git and make; `make deps` brings the rest on Debian and Ubuntu.
# `make` alone tells what there is.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)

# What can be said on the command line, as in: make test PKG=./queue/... RUN=Lease
PKG ?= ./...
RUN ?=
TESTFLAGS ?=
# One package may take this long, broker starts included.
TIMEOUT ?= 15m
FUZZTIME ?= 10s
SEED ?=
SEEDS ?=
DURATION ?=
QUEUE ?= embedded
ARGS ?=
SCENARIOS ?=
SWEEPS ?=
ROUNDS ?=
MINUTES ?= 10

SERVICES := bin/with-services --rabbitmq --
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: help
help: ## show this list
	@echo "Tocsin: one incident in, every subscriber told."
	@echo
	@echo "  first time here?  make demo        one incident, 10,000 local webhooks, mailboxes, phones and feeds"
	@echo "  before a commit:  make lint test"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/tocsin
	go build -trimpath -ldflags "-X main.buildVersion=$(VERSION)" -o bin/tocsin ./cmd/tocsin

.PHONY: bin/with-services
bin/with-services:
	@go build -o $@ ./internal/testenv/cmd/with-services

.PHONY: deps
deps: ## install what tests need: RabbitMQ, amqp-tools, gcc (apt; advice elsewhere)
	@internal/testenv/install.sh

.PHONY: test
test: deps bin/with-services ## test everything with -race and a private RabbitMQ [PKG=./… RUN=Name TIMEOUT=15m TESTFLAGS=…]
	@$(SERVICES) go test -race -timeout $(TIMEOUT) $(if $(RUN),-run '$(RUN)') $(TESTFLAGS) $(PKG) 2>&1 | awk -f internal/testenv/summary.awk

.PHONY: demo
ifeq ($(QUEUE),rabbitmq)
demo: build deps bin/with-services ## run the demo [QUEUE=rabbitmq ARGS="--targets 2000"]
	@$(SERVICES) bin/tocsin demo --queue {amqp} $(ARGS)
else ifeq ($(QUEUE),embedded)
demo: build
	@bin/tocsin demo $(ARGS)
else
demo:
	@echo 'QUEUE is "embedded" or "rabbitmq", not "$(QUEUE)".' >&2; exit 2
endif

.PHONY: bin/tocsin-bench
bin/tocsin-bench:
	@go build -trimpath -o $@ ./bench

# What can't be installed leaves out what needs it, and the results say so.
.PHONY: bench-deps
bench-deps:
	@internal/testenv/install.sh || echo "Going on without: what needs it is left out." >&2

.PHONY: bench
bench: bench-deps build bin/tocsin-bench ## measure the engine beside raw sockets, about 15 minutes [SCENARIOS=w1,w5 ROUNDS=5]
	@bin/tocsin-bench run $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SCENARIOS),--scenarios $(SCENARIOS)) $(ARGS)

.PHONY: bench-quick
bench-quick: bench-deps build bin/tocsin-bench ## the same with smaller sizes, within 90 s [SCENARIOS=w1,w5 ROUNDS=5]
	@bin/tocsin-bench run --quick $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SCENARIOS),--scenarios $(SCENARIOS)) $(ARGS)

.PHONY: bench-tune
bench-tune: build bin/tocsin-bench ## try socket, file and memory settings out, about 10 minutes [SWEEPS=dial_gate,gogc ROUNDS=5]
	@bin/tocsin-bench tune $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SWEEPS),--sweeps $(SWEEPS)) $(ARGS)

# The engine, the receivers and the load share the machine: nothing else should run.
.PHONY: soak
soak: bench-deps build bin/tocsin-bench ## run the engine in steady trouble and see that nothing grows [MINUTES=10 QUEUE=rabbitmq SEED=7]
	@bin/tocsin-bench soak --minutes $(MINUTES) --queue $(QUEUE) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: vet
vet: ## run go vet
	go vet ./...

.PHONY: lint
lint: ## check formatting, go vet, staticcheck
	@unformatted=$$(gofmt -l .) && if [ -n "$$unformatted" ]; then echo "gofmt -w is needed for:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go run $(STATICCHECK) ./...

.PHONY: sim
sim: ## simulate 5,000 worlds of faults in virtual time [SEEDS=n | SEED=n | DURATION=1h]
	@TOCSIN_SIM_SEED=$(SEED) TOCSIN_SIM_SEEDS=$(SEEDS) TOCSIN_SIM_DURATION=$(DURATION) \
		go test -count=1 -timeout 0 -v -run 'TestSimulate$$' ./internal/simulate

# Over both queues, if nobody says over which.
.PHONY: chaos
chaos: bench-deps build bin/tocsin-bench ## kill the engine again and again, about 18 minutes [ROUNDS=1000 QUEUE=embedded SEED=n]
	@bin/tocsin-bench chaos --queue $(if $(filter file,$(origin QUEUE)),both,$(QUEUE)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: fuzz
fuzz: ## run every fuzz target [FUZZTIME=10s each]
	@internal/testenv/fuzz.sh $(FUZZTIME)

.PHONY: ci
ci: ## do what continuous integration does
	@.ci/run

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
