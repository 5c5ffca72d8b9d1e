PYTHON ?= python3
BIN := .venv/bin
PIP := -m pip install --quiet --disable-pip-version-check
# Installs exactly the locked files, by their hashes.
LOCKED := $(BIN)/python $(PIP) --require-hashes --requirement requirements/build.txt --requirement
ITSELF := $(BIN)/python $(PIP) --no-deps --no-build-isolation --editable .
PEN_STROKES ?= training/data/pen-strokes/pendigits-orig.tra.gz
LOCK := .venv-tools/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header

.PHONY: help serve test test-all lint format train report bench lock audit clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

serve: .venv/serve ## Serve on http://localhost:8000 (set PORT for another); sets up .venv first
	@exec $(BIN)/python -m cli serve

test: lint ## Check types and style, run the fast tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadgroup $(PYTEST)

test-all: lint .venv/ray ## Also run the slow tests: container (Docker), page (Chromium), metrics (Prometheus), V2's real clients, load (wrk), Ray, fuzzer
	$(BIN)/python -m pytest --numprocesses auto --dist loadgroup --slow $(PYTEST)

lint: .venv/test ## Check types and style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/test ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

train: .venv/test ## Make everything that ships from random weights, resuming an interrupted run, then the report; SEEDS=3 trains three networks and exports the best
	$(BIN)/python -m training.release $(if $(SEEDS),--seeds $(SEEDS))
	@$(MAKE) report

report: .venv/test ## Measure and publish every figure of the model card, or compare with CHECK=--check; draw the report into reports/; REAL_IMAGES=FOLDER and REAL_PAGES=FOLDER add your own
	$(BIN)/python -m training evaluate --report reports/digits
	$(BIN)/python -m benchmarks.accuracy $(if $(REAL_IMAGES),--real-images $(REAL_IMAGES)) $(if $(REAL_PAGES),--real-pages $(REAL_PAGES)) $(if $(PEN_STROKES),--pen-strokes $(PEN_STROKES)) $(or $(CHECK),--publish)

bench: .venv/test ## Compare the service with other servers, each in its own environment in .venv-bench, and publish the results; BENCH="--help" lists options; needs wrk, nghttp2-client
	$(BIN)/python -m benchmarks.performance.serving $(or $(BENCH),--publish)

lock: .venv-tools/done ## Pin the dependencies of pyproject.toml, and theirs, in requirements/, with hashes
	.venv-tools/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])' \
		| $(LOCK) - --output-file requirements/build.txt
	$(LOCK) pyproject.toml --extra cpu --output-file requirements/serve.txt
	$(LOCK) pyproject.toml --extra cuda --constraint requirements/serve.txt --output-file requirements/cuda.txt
	echo torch | $(LOCK) pyproject.toml --extra cpu --extra parquet --extra training --extra test --excludes - \
		--constraint requirements/serve.txt --output-file requirements/test.txt
	$(LOCK) pyproject.toml --extra cpu --extra ray --constraint requirements/test.txt --output-file requirements/ray.txt
	for peer in $(wildcard benchmarks/performance/peers/*/requirements.in); do $(LOCK) $$peer --output-file $${peer%in}txt || exit 1; done

audit: .venv-tools/done ## Look up known vulnerabilities of the pinned packages on PyPI
	for file in build serve cuda test ray; do \
		.venv-tools/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements/$$file.txt || exit 1; \
	done

clean: ## Remove everything that make created
	rm -rf .venv .venv-tools .venv-clients .venv-bench build reports

.venv/python: 
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "expected Python 3.11 or newer; got $$($(PYTHON) --version); set PYTHON=python3.x"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/serve: .venv/python pyproject.toml requirements/build.txt requirements/serve.txt
	$(LOCKED) requirements/serve.txt
	$(ITSELF)
	@touch $@

.venv/test: .venv/python pyproject.toml requirements/build.txt requirements/test.txt requirements/torch.txt
	$(LOCKED) requirements/test.txt
	$(BIN)/python $(PIP) --requirement requirements/torch.txt
	$(ITSELF)
	@touch $@ .venv/serve

.venv/ray: .venv/test requirements/ray.txt
	$(LOCKED) requirements/ray.txt
	@touch $@

.venv-tools/done: Makefile
	$(PYTHON) -m venv .venv-tools
	.venv-tools/bin/python $(PIP) uv==0.13.9 pip-audit==2.10.1
	@touch $@
