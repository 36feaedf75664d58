# A few short names for longer commands.  They use .venv where it exists, and otherwise what is on the PATH.
BIN := $(if $(wildcard .venv/bin/python),.venv/bin/,)
export NO_MKDOCS_2_WARNING := 1

.PHONY: setup test lint docs outputs notebooks serve

setup: ## a virtual environment with everything; the CPU build of torch first, for the usual one is huge on ARM
	python3 -m venv .venv
	.venv/bin/pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
	.venv/bin/pip install -c constraints.txt -e '.[dev]'

test: ## all tests but the slow ones (longer examples, the site in a browser: pytest -m slow)
	$(BIN)python -m pytest -n auto

lint: ## style and types
	$(BIN)ruff check .
	$(BIN)ruff format --check .
	$(BIN)mypy

docs: ## the site, into the folder site, and the Japanese one into site/ja; any warning is an error
	$(BIN)mkdocs build --strict
	$(BIN)mkdocs build --strict -f mkdocs.ja.yml

outputs: ## run the commands whose output and pictures stand in the pages, and put the fresh ones in
	$(BIN)python docs/hooks/outputs.py

notebooks: ## the notebooks of the examples, anew
	$(BIN)python docs/hooks/notebooks.py

serve: ## the site at http://127.0.0.1:8000, rebuilt as you write (the Japanese one: mkdocs serve -f mkdocs.ja.yml)
	$(BIN)mkdocs serve --strict
