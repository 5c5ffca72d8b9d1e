PYTHON ?= python3
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: help serve test test-all lint format report clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

serve: .venv/serve ## Serve on http://localhost:8000 (set PORT for another); sets up .venv first
	@exec $(BIN)/gunicorn

test: lint ## Check types and style, run the fast tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadgroup $(PYTEST)

test-all: lint ## The same and the slow tests: container (needs Docker), page (needs Chromium), V2's real clients
	$(BIN)/python -m pytest --numprocesses auto --dist loadgroup --slow $(PYTEST)

lint: .venv/test ## Check types and style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/test ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

report: .venv/test ## Print every figure of the model card, draw the report into reports/; REAL_IMAGES=FOLDER PEN_STROKES=FILE
	$(BIN)/python -m training evaluate --report reports/digits
	$(BIN)/python -m benchmarks $(if $(REAL_IMAGES),--real-images $(REAL_IMAGES)) $(if $(PEN_STROKES),--pen-strokes $(PEN_STROKES)) $(CHECK)

clean: ## Remove what make has made
	rm -rf .venv reports

.venv/python: 
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "expected Python 3.11 or newer; got $$($(PYTHON) --version); set PYTHON=python3.x"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/serve: .venv/python pyproject.toml constraints.txt
	$(PIP_INSTALL) '.[cpu]'
	@touch $@

.venv/test: .venv/python pyproject.toml constraints.txt
	$(PIP_INSTALL) '.[cpu,training,test]'
	@touch $@ .venv/serve
