# Everything runs in .venv, which the first target that needs it creates. Settings:
#   PYTHON=python3.12   another interpreter (3.11 or newer) for .venv
#   TORCH_INDEX=URL     a package index with CPU builds of torch, as pip's --extra-index-url
#   BASE=trainers/checkpoints/empathy-tiny-zh   let `model` go on from the committed base model
#   ARGS="..."          more arguments for pytest in `test` and `test-slow`, for `ask` in `demo`, for `bench`

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
# Relative, so that a checkout in a folder with spaces works: pip splits this variable at them.
export PIP_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
INSTALL := $(RUN)/python -m pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
TEST_EXTRAS := llamacpp,transformers,endpoint,hub,langchain,train,sqlite,dev

# Tests, benchmarks and training use what lies here; nothing is fetched or reported.
OFFLINE := HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 LANGSMITH_TRACING=false TOKENIZERS_PARALLELISM=false
# Keeps large buffers mapped between training steps; see docs/experiments.md.
TUNABLES := glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=100000000000
PYTEST := $(OFFLINE) $(RUN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint types model bench check-tools
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.setup ## create .venv with everything that development needs

demo: NATIVE := --native
demo: $(VENV)/.demo ## answer a Chinese post with the embedded model; installs what that needs
	$(RUN)/empathy-agent ask --file examples/long_post_zh.txt --show-chain $(ARGS)

test: $(VENV)/.setup ## run the tests (not the slow ones) with branch coverage, 90 % at least
	$(PYTEST) -m "not slow" --cov --cov-report=term-missing:skip-covered $(ARGS)

test-slow: $(VENV)/.setup ## run the slow tests
	@# pytest exits with 5 where no test is marked slow.
	$(PYTEST) -m slow $(ARGS) || test $$? -eq 5

lint: $(VENV)/.setup ## check style, format and the import order of the rooms
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/lint-imports
	$(RUN)/python scripts/pin.py --check

types: $(VENV)/.setup ## check types (mypy strict: four packages and the tests)
	$(RUN)/mypy

model: $(VENV)/.setup ## train the embedded model by its recipe (EMPATHY_DATA: corpora); days on a CPU
	$(OFFLINE) GLIBC_TUNABLES=$(TUNABLES) $(RUN)/python -m empathy_trainers.make_model \
	  --recipe trainers/recipes/tiny-cpu.yaml $(if $(BASE),--base $(BASE)) $(ARGS)

bench: $(VENV)/.setup ## measure speed on this machine
	$(OFFLINE) GLIBC_TUNABLES=glibc.malloc.arena_max=1 $(RUN)/python -m bench $(ARGS)

# -- the environment; stamps lie in .venv, so that removing it forgets them ---------------------

$(VENV)/.made: | check-tools
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.llama-cpp: $(VENV)/.made constraints.txt
	$(RUN)/python scripts/install_llama_cpp.py $(NATIVE)
	@touch $@

$(VENV)/.demo: $(VENV)/.llama-cpp pyproject.toml constraints.txt
	$(INSTALL) --editable '.[llamacpp]'
	@touch $@

$(VENV)/.setup: $(VENV)/.llama-cpp pyproject.toml constraints.txt
	$(INSTALL) --editable '.[$(TEST_EXTRAS)]' torch
	@touch $@ $(VENV)/.demo

# Only where llama-cpp-python may have to be built; a Python that is not there gets its line too.
check-tools:
	@test -e $(VENV)/.llama-cpp || { \
	  command -v $(PYTHON) >/dev/null || { \
	    echo "empathy-agent: $(PYTHON) is missing: install Python 3.11 or newer." >&2; exit 1; }; \
	  $(PYTHON) scripts/check_tools.py python cmake compiler; }
