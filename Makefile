# Two commands for a fresh machine: `make demo` and `make test`.
# `make venv PYTHON=/path/to/python3.12` chooses the Python.

SHELL := /bin/sh
RUN := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint format clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

venv: ## install into .venv what is missing; nothing if nothing changed
	@sh tools/make_venv.sh

demo: venv ## distil real handwritten digits, evaluate and draw them
	@$(RUN) tools/demo.py

test: venv ## run the tests
	@$(RUN) -m pytest --numprocesses=2

lint: venv ## check style and formatting
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .

format: venv ## repair style and formatting
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

clean: ## remove .venv and caches; runs/ stays
	@rm -rf .venv .pytest_cache .ruff_cache build dist dam_tf.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
