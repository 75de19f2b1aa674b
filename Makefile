# Every target works on a machine that has only Python 3.10 or newer and make; see `make help`.
PYTHON ?= python3
VENV ?= .venv
ARGS ?=

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: fuzz help install demo test test-fast test-ui lint types simulate bench bench-imports bench-page bench-push bench-push-airflow bench-triggerer clean

# The caller's Airflow and Python settings stay outside.
$(foreach name,$(filter AIRFLOW% _AIRFLOW% OPENLINEAGE% PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE,$(.VARIABLES)),$(eval unexport $(name)))

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
OLDEST := 3, 10

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile
	@echo '  ARGS="..." passes options on (make demo ARGS=--exit, make test ARGS="-n0 -k wait"); PYTHON=... chooses the Python'

install: $(VENV)/installed-dev $(VENV)/installed-clients ## Create the environment with everything in it

demo: $(VENV)/installed-demo ## Run the example DAGs in a real Airflow against mock services
	@$(BIN)/python tools/demo.py $(ARGS)

test: install ## Run the tests, several at a time (ARGS=-n0: one by one)
	@$(BIN)/python -m pytest --ignore=tests/ui -n auto --dist loadgroup --no-loadscope-reorder $(ARGS)

test-fast: $(VENV)/installed-dev ## Run the tests that need no Airflow, browser or vendor client, in under a minute
	@$(BIN)/python -m pytest --ignore=tests/ui -m "not airflow and not standalone and not vendor and not slow" $(ARGS)

fuzz: $(VENV)/installed-dev ## Send random answers to all services' readers, 20,000 cases for each, other ones each time
	@SLUICE_FUZZ_PROFILE=fuzz $(BIN)/python -m pytest tests/fuzz $(ARGS)

test-ui: $(VENV)/installed-ui ## Run the tests in a browser; needs Chromium or Chrome on PATH
	@$(BIN)/python -m pytest tests/ui $(ARGS)

lint: $(VENV)/installed-dev ## Check style and formatting with ruff
	@$(BIN)/ruff check $(ARGS) .
	@$(BIN)/ruff format --check $(ARGS) .

types: $(VENV)/installed-dev ## Check types with mypy
	@$(BIN)/mypy $(ARGS)

simulate: $(VENV)/installed-dev ## Explore schedules of failures; ARGS="--service kili --schedules 100000 --seed 7"
	@$(BIN)/python -m tests.simulation.explore $(ARGS)

bench: $(VENV)/installed-dev ## Measure the time and memory of imports, readers and pushes
	@$(BIN)/python tools/bench.py $(ARGS)

bench-imports: $(VENV)/installed-dev ## Measure what DAG files pay for imports; ARGS="--peers FOLDER" adds providers in a folder
	@$(BIN)/python tools/bench_imports.py $(ARGS)

bench-page: $(VENV)/installed-dev ## Measure the Remote jobs page with up to 100,000 jobs, beside Airflow's list of task instances
	@$(BIN)/python tools/bench_jobs_page.py $(ARGS)

bench-push: $(VENV)/installed-dev $(VENV)/installed-clients ## Measure a push beside the vendor's client and bare httpx; ARGS="--rows 1000000"
	@$(BIN)/python tools/bench_push.py $(ARGS)

bench-push-airflow: $(VENV)/installed-dev ## Measure what a push's record costs in a real Airflow; needs PostgreSQL
	@$(BIN)/python tools/bench_push_airflow.py $(ARGS)

bench-triggerer: $(VENV)/installed-dev ## Measure how many waiting jobs a triggerer carries; needs PostgreSQL
	@$(BIN)/python -u tools/bench_triggerer.py $(ARGS)

clean: ## Remove the environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- installing: done again only when what is asked for has changed

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { echo 'No "$(PYTHON)" here: say which Python with PYTHON=...' >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] < ($(OLDEST)))' || \
		{ echo "Python $(subst $(strip ,) ,.,$(OLDEST)) or newer is needed, $(PYTHON) is $$("$(PYTHON)" -V 2>&1): say which with PYTHON=..." >&2; exit 1; }
	@echo "Creating $(VENV)"
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# hatchling and editables come first and are pinned too, so the build needs no environment of its own.
$(VENV)/installed-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing the package with [$*]; the first time takes a minute or two"
	@$(PIP) install --constraint constraints.txt hatchling editables
	@$(PIP) install --constraint constraints.txt --no-build-isolation --editable '.[$*]'
	@touch $@

# The vendors' clients in the versions that matter, each in a folder of its own; what they need is in the environment
# already. kalbio 0.7.0 declares Python 3.12, but runs on 3.11 as the older ones do there. Of boto3 and botocore these are the last that know FinSpace, and only together: pip would take a newer botocore.
$(VENV)/installed-clients: Makefile | $(BIN)/python
	@echo "Installing the vendors' clients"
	@$(call client,kalbio,0.2.4)
	@$(call client,kalbio,0.2.6)
	@$(call client,kalbio,0.5.0)
	@$(call client,kalbio,0.7.0,--ignore-requires-python)
	@$(call client,boto3,1.43.116,botocore==1.43.116)
	@$(call client,kili,26.2.4,$(KILI_NEEDS))
	@touch $@

# What kili imports, in the versions it declares: several are older than those that Airflow brings.
KILI_NEEDS := kili-formats==1.6.0 'kili-events<27' 'click<8.1.8' cuid==0.4 'filelock<4' 'gql<4' 'graphql-core<3.2.7' \
	'backoff<3' 'yarl<2' multidict propcache 'pyparsing<4' 'pyrate-limiter<4' 'tenacity<9' 'tqdm<5' 'typeguard<5' \
	'websocket-client<2' 'websockets<12' 'requests-toolbelt<2'

client = $(PIP) install --no-deps --upgrade --target $(VENV)/vendor/$(1)-$(2) $(1)==$(2) $(3)
