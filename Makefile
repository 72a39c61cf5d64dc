# One tool call a target; everything happens in .venv, made once from pyproject.toml and constraints.txt.
# Another interpreter: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
# how many processes run all tests side by side; 0: one after the other, in this one
PROCESSES ?= 2

.DEFAULT_GOAL := help
.PHONY: help dev demo test test-all test-htcondor test-kubernetes test-nfs coverage simulate chaos check fix bench bench-compare scale docs clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## */  make \1\t/p' Makefile | expand -t 22

dev: $(STAMP)  ## make .venv, with the package in editable form and all tools

$(STAMP): pyproject.toml setup.py constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,demo,urls,dask,kubernetes,server,postgresql]' --constraint constraints.txt
	@touch $@

demo: $(STAMP)  ## run a real workflow, kill it, resume it
	$(BIN)/python contrib/examples/demo.py $(ARGS)

test: $(STAMP)  ## run all tests, in PROCESSES=2 side by side; ARGS='tests/test_x.py -k y' runs some, in one
	$(BIN)/python -m pytest $(or $(ARGS),-n $(PROCESSES))

test-all: PROCESSES := 4
test-all: $(STAMP)  ## run all tests, with those on HTCondor, Kubernetes and NFS, which mostly wait, in PROCESSES=4 side by side; ARGS for pytest
	$(BIN)/python -m pytest -m "" -n $(PROCESSES) $(ARGS)

test-htcondor: $(STAMP)  ## run tasks and whole workflows on a real HTCondor, as root; ARGS as for test
	$(BIN)/python -m pytest -m htcondor tests/cluster $(ARGS)

test-kubernetes: $(STAMP)  ## run tasks and whole workflows on a real Kubernetes: that of KUBECONFIG, or one that is started for it (root, packages: docs/clusters/kubernetes.md)
	$(BIN)/python -m pytest -m kubernetes tests/cluster $(ARGS)

test-nfs: $(STAMP)  ## run the tests on NFS between hosts with kernels of their own (root, a minute or two); ARGS as for test
	$(BIN)/python -m pytest -m nfs tests/nfs $(ARGS)

coverage: $(STAMP)  ## run all tests, which takes longer so, and tell which lines they do not reach; ARGS as for test
	$(BIN)/python -m pytest --cov --cov-report=term $(or $(ARGS),-n $(PROCESSES))

simulate: $(STAMP)  ## simulate bad days: SEEDS=N workflows from FIRST=n on, or SEED=n again and made small
	cd tests && ../$(BIN)/python -m simulation.system $(if $(SEED),--replay $(SEED),--seeds $(or $(SEEDS),2000) --first $(or $(FIRST),0))

check: $(STAMP)  ## lint, formatting, types, layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python -m mypy
	$(BIN)/lint-imports --no-logo

fix: $(STAMP)  ## mend what can be mended mechanically
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(STAMP)  ## measure jobsys beside its peers, in turn; ARGS=--quick, ARGS='--only chain', ARGS=--list
	$(BIN)/python contrib/bench/run.py $(ARGS)

bench-compare: $(STAMP)  ## measure again and show what has changed since AGAINST=FILE (default: the newest saved run), or up to NOW=FILE
	$(BIN)/python contrib/bench/$(if $(NOW),compare.py $(or $(AGAINST),newest) $(NOW),run.py --against $(or $(AGAINST),newest) $(ARGS))

scale: $(STAMP)  ## lead a simulated cluster; ARGS='--jobs 10M --hosts 10000', or ARGS='--tables' for the tables of docs/scale.md
	$(BIN)/python contrib/scale/run.py $(ARGS)

chaos: $(STAMP)  ## kill, stop and starve real runs, and look for anything lost, doubled or left; ARGS='--kills 200 --seed 1'
	$(BIN)/python contrib/chaos/run.py $(ARGS)

docs: $(STAMP)  ## check the documents: links, examples, commands, names of the specification
	$(BIN)/python -m pytest tests/test_docs.py tests/test_public_names.py

clean:  ## remove what make made
	rm -rf $(VENV) build dist .coverage .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
