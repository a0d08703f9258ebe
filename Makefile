# `make demo` sends a photograph end to end, `make test` runs the tests, `make docs` builds the manual; each sets up .venv first.
#   PYTHON=python3.12          another interpreter (3.11 or later)
#   TORCH=torch                another release of torch than the tested one
#   TORCH_INDEX=URL            where torch comes from, e.g. https://download.pytorch.org/whl/cpu for its small CPU build

PYTHON ?= python3
TORCH ?= torch==2.13.0
TORCH_INDEX ?=
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
READY := $(VENV)/.ready
DEMO_IMAGE ?= examples/kodim23.png
DEMO_PROMPT ?= two macaws, one red and yellow and one blue and yellow, before green leaves

.PHONY: demo test lint docs versions setup clean

demo: $(READY)
	$(BIN)/gencomm roundtrip $(DEMO_IMAGE) -o demo.png --compare demo-compare.png --cbr 0.0033 --snr 10 --prompt "$(DEMO_PROMPT)"
	@echo "Look at demo-compare.png: original, coarse (without diffusion) and refined, side by side."

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(BIN)/pip install -q -e ".[dev]"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/pip install -q -e ".[docs]"
	$(BIN)/python docs/build.py

# Needs uv and some gigabytes; other interpreters: bash examples/measure/versions.sh highest python3.13
versions:
	bash examples/measure/versions.sh lowest-direct $(PYTHON)
	bash examples/measure/versions.sh highest $(PYTHON)

setup: $(READY)

# pyldpc's source package imports numpy while it is being built, so numpy, setuptools and wheel come first.
$(READY): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON): Python 3.11 or later is needed; try make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install numpy setuptools wheel
	$(BIN)/pip install "$(TORCH)" $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(BIN)/pip install --no-build-isolation pyldpc
	$(BIN)/pip install -e ".[test]"
	@touch $(READY)

clean:
	rm -rf $(VENV) build demo.png demo-compare.png
