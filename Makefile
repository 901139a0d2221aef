# The front door. Everything runs in .venv, which tools/environment.sh makes from the pinned requirements.
.DEFAULT_GOAL := help
.PHONY: help environment check format generate requirements test test-unit test-cluster test-others go-tools serve demo demo-down demo-model \
        cluster cluster-down bench bench-gpu kubectl-omega

PYTHON := .venv/bin/python
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/omega-vlm
SOURCES := crds operator server tools tests demo

help: ## Show this list.
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

environment: ## Install the pinned Python packages into .venv.
	@tools/environment.sh

# This checkout is checked, wherever .venv was made.
check: export PYTHONPATH := crds:operator:server
check: environment ## Lint, types, import boundaries, generated files, examples. Seconds; run it before each commit.
	.venv/bin/ruff check $(SOURCES)
	.venv/bin/ruff format --check $(SOURCES)
	.venv/bin/mypy --cache-dir=$(CACHE)/mypy crds operator server tools
	.venv/bin/lint-imports
	$(PYTHON) tools/generate.py --check
	.venv/bin/pytest -q tests/schema/test_examples.py

format: environment ## Format and fix what can be fixed.
	.venv/bin/ruff check --fix $(SOURCES)
	.venv/bin/ruff format $(SOURCES)

generate: environment ## Write the generated files: the CRD, its copy in the chart, the field reference.
	$(PYTHON) tools/generate.py

requirements: environment ## Pin the requirements again from requirements/*.in.
	tools/requirements.sh

UNIT := $(addprefix tests/,schema operator workspace tools chart kubectl)

test-unit: environment ## Unit tests: no model, no cluster; seconds.
	.venv/bin/pytest -q $(UNIT)

test-cluster: environment ## Tests against a real Kubernetes (started here, root on Linux).
	@tests/cluster/all.sh

test-others: environment ## All other tests: of the server and the models, without a cluster; minutes.
	.venv/bin/pytest --durations=20 tests --ignore=tests/cluster $(addprefix --ignore=,$(UNIT))

go-tools: environment ## Build Kubernetes and the other Go programs of the tests, once.
	$(PYTHON) tools/cluster tools

# The cluster's tests beside all others, for most of its time each waits; the quick ones fill what is left of the first minutes.
# A compiler beside them would make them wait too long.
test: environment go-tools ## Everything, as CI runs it.
	@echo "test: four parts beside each other, 15 to 25 minutes; what each says is shown when it has ended"
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=target --keep-going --assume-old=environment test-cluster test-others check test-unit

serve: environment ## The server alone, with the demo model on the CPU, at http://127.0.0.1:8000.
	.venv/bin/omega-server serve --model-path demo/model --device cpu --dtype float32

kubectl-omega: ## Write the plugin `kubectl omega` as one file: dist/kubectl-omega.
	python3 tools/plugin.py

bench: environment ## Measure this server and others on the CPU, and write docs/benchmarks (20 to 25 minutes).
	$(PYTHON) tools/bench

bench-gpu: environment ## Measure the engine on one CUDA GPU, and write docs/benchmarks.
	$(PYTHON) tools/bench gpu

demo: environment ## Everything: a cluster, images, chart, resource, questions and answers.
	@$(PYTHON) demo/run.py up

demo-down: environment ## Take down what make demo started.
	@$(PYTHON) demo/run.py down

demo-model: environment ## Train the demo model and its MoE twin again (under an hour on 2 cores).
	$(PYTHON) demo/train --out demo

cluster: ## Start a local Kubernetes on this machine (Linux, root).
	python3 tools/cluster up

cluster-down: ## Stop it.
	python3 tools/cluster down
