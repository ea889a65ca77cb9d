# Two commands for a fresh machine: `make demo` and `make test`.
# `make venv PYTHON=/path/to/python3.12` chooses the Python.

SHELL := /bin/sh
RUN := .venv/bin/python
ADDONS := .venv-addons/bin/python
JAX := .venv-jax/bin/python

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-all test-addons test-jax bench lint format clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

venv: ## install into .venv what is missing; nothing if nothing changed
	@sh tools/make_venv.sh .venv requirements.txt 11 13 "make venv PYTHON" .

demo: venv ## distil real handwritten digits, evaluate and draw them
	@$(RUN) tools/demo.py

test: venv ## run the quick tests (six minutes on two cores)
	@$(RUN) -m pytest --numprocesses=2 --dist=loadfile -m "not slow"

test-all: venv ## run all tests: also compilers, processes and whole studies
	@$(RUN) -m pytest --numprocesses=2 --dist=loadfile

test-addons: venv ## compare with tensorflow-addons, in .venv-addons (Python 3.9 to 3.11)
	@PYTHON="$(ADDONS_PYTHON)" sh tools/make_venv.sh .venv-addons \
		requirements-addons.txt 9 11 "make test-addons ADDONS_PYTHON"
	@$(RUN) tests/addons/record.py build/addons
	@$(ADDONS) -m pytest -c tests/addons/pytest.ini tests/addons

test-jax: venv ## run compiled programs by jax alone, in .venv-jax (Python 3.11 to 3.13)
	@PYTHON="$(JAX_PYTHON)" sh tools/make_venv.sh .venv-jax \
		requirements-jax.txt 11 13 "make test-jax JAX_PYTHON"
	@$(RUN) tests/jax/record.py build/jax
	@$(JAX) -m pytest -c tests/jax/pytest.ini tests/jax

bench: venv ## measure speed and memory beside PyTorch, in .venv-bench (ten minutes)
	@PYTHON="$(BENCH_PYTHON)" sh tools/make_venv.sh .venv-bench \
		benchmarks/requirements.txt 11 13 "make bench BENCH_PYTHON" || :
	@$(RUN) benchmarks/step.py $(BENCH)

lint: venv ## check style and formatting
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

format: venv ## repair style and formatting
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

clean: ## remove .venv, .venv-addons, .venv-jax, .venv-bench and caches; runs/ stays
	@rm -rf .venv .venv-addons .venv-jax .venv-bench .pytest_cache .ruff_cache build dist dam_tf.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
