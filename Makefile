# make demo   set-up, then the main job: jets -> trained tagger -> HLS project -> bit-exact RTL -> report
# make test   set-up, then the tests
# make check  ruff, mypy and the tests, long ones included

PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
STAMP   = $(VENV)/.installed

.PHONY: demo test check lint setup clean

demo: $(STAMP)
	$(BIN)/l1dl run models/jet_mlp

test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

check: lint
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile -m "slow or not slow"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: $(STAMP)

$(STAMP): requirements/qkeras.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "l1dl needs Python 3.10 to 3.13; found: $$($(PYTHON) --version 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing the pinned packages into $(VENV) (about 3.5 GB, one to three minutes)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/qkeras.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf $(VENV) runs hls_projects/*/
