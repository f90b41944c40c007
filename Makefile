# Two commands set up everything: `make demo` and `make test`.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# uv takes a folder of local wheels from pip's configuration, where there is one.
WITH_WHEELS = UV_FIND_LINKS="$$($(BIN)/pip config get global.find-links 2>/dev/null \
	|| echo "$$PIP_FIND_LINKS")"

# Files go to workers in the order of tests/conftest.py; slow tests wait more than they compute, so
# three workers fill two cores.
BY_FILE = --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-fast dashboard bench docs lint lock audit fuzz

demo: $(READY)
	@$(BIN)/emsam data synthetic demo
	@$(BIN)/emsam pipeline --data demo

test: $(READY) lint
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 3 $(BY_FILE)

test-fast: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 $(BY_FILE) -m "not slow"

dashboard: $(READY)
	@$(BIN)/python -m dashboards

bench: $(READY)
	@for topic in benchmarks/[a-z]*.py; do echo "$$topic"; $(BIN)/python $$topic || exit 1; done

docs: $(READY)
	@$(BIN)/python docs/generate_reference.py
	@$(BIN)/python docs/draw_metrics.py
	@$(BIN)/python docs/draw_augmentation.py

lint: $(READY)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary

# Written only when everything is installed, so that an interrupted installation is taken up again.
$(READY): requirements.lock pyproject.toml
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -c 'import sys; v = sys.version_info; \
		sys.exit(None if (3, 11) <= v < (3, 14) else "Python 3.11 to 3.13 is needed; set PYTHON=")'
	@$(BIN)/python -m pip install --quiet "uv>=0.5"
	$(WITH_WHEELS) $(BIN)/uv pip install --python $(BIN)/python --compile-bytecode \
		--requirements requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# Keeps the pins that still fit. No hashes and no local version, so that a CPU wheel may stand in
# for torch.
lock:
	$(WITH_WHEELS) $(BIN)/uv pip compile --quiet --all-extras --python-version 3.11 \
		--no-annotate --no-header --output-file requirements.lock pyproject.toml
	@sed -i 's/+cpu$$//' requirements.lock

# Known vulnerabilities of what is locked, where https://api.osv.dev can be reached.
audit: $(READY)
	@$(BIN)/uv tool run pip-audit --requirement requirements.lock --no-deps --disable-pip \
		--vulnerability-service osv

# Some 22,000 mutated files; docs/security.md says what is looked for.
fuzz: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.fuzz --cases 1300
