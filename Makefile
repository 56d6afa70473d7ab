# make demo   set-up, then the main job: jets -> trained tagger -> HLS project -> bit-exact RTL -> report
# make test   set-up, then the tests
# make check  ruff, mypy and the tests, long ones included
#
# The engines qkeras and hgq2 exclude each other, so that each has an environment. ENGINE=hgq2 chooses that of HGQ2;
# make test and make check take both, one after the other.

PYTHON ?= python3
VENV   ?= .venv
ENGINE ?= qkeras

VENV_qkeras = $(VENV)
VENV_hgq2   = $(VENV)-hgq2
CARD_qkeras = models/jet_mlp
CARD_hgq2   = models/jet_hgq2
SIZE_qkeras = 3.5 GB, one to three minutes
SIZE_hgq2   = 1.3 GB, about a minute
OLDEST_qkeras = 10
OLDEST_hgq2   = 11

BIN   = $(VENV_$(ENGINE))/bin
STAMP = $(VENV_$(ENGINE))/.installed

PYTEST = bin/python -m pytest --numprocesses auto --dist loadfile

.PHONY: demo test check lint setup clean

demo: $(STAMP)
	$(BIN)/l1dl run $(CARD_$(ENGINE))

test: $(VENV_qkeras)/.installed
	$(VENV_qkeras)/$(PYTEST)
	$(call with_hgq2,$(PYTEST) tests/hgq2)

check: lint
	$(VENV_qkeras)/$(PYTEST) -m "slow or not slow"
	$(call with_hgq2,$(PYTEST) tests/hgq2 -m "slow or not slow")

define with_hgq2
	@if $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, $(OLDEST_hgq2)))'; then \
		$(MAKE) --no-print-directory setup ENGINE=hgq2 && echo "$(VENV_hgq2)/$(1)" && $(VENV_hgq2)/$(1); \
	else echo "the engine hgq2 needs Python 3.$(OLDEST_hgq2): its tests are left out"; fi
endef

lint: $(VENV_qkeras)/.installed
	$(VENV_qkeras)/bin/ruff check .
	$(VENV_qkeras)/bin/ruff format --check .
	$(VENV_qkeras)/bin/mypy

setup: $(STAMP)

define install
	@$(PYTHON) -c 'import sys; sys.exit(not (3, $(OLDEST_$(1))) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "the engine $(1) needs Python 3.$(OLDEST_$(1)) to 3.13; found: $$($(PYTHON) --version 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV_$(1))
	@echo "installing the pinned packages of the engine $(1) into $(VENV_$(1)) ($(SIZE_$(1)))"
	$(VENV_$(1))/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/$(1).txt
	$(VENV_$(1))/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
endef

$(VENV_qkeras)/.installed: requirements/qkeras.txt pyproject.toml
	$(call install,qkeras)

$(VENV_hgq2)/.installed: requirements/hgq2.txt pyproject.toml
	$(call install,hgq2)

clean:
	rm -rf $(VENV_qkeras) $(VENV_hgq2) runs scans hls_projects/*/
