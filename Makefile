.PHONY: install check lint types test cross fuzz mutants format demo docs

install:
	pip install -e '.[dev]'

check: lint types test

lint:
	ruff check .
	ruff format --check .

types:
	mypy

test:
	python -m pytest

cross: # needs qemu-user-static, and ziglang or $$ZIG; for Windows, wine
	python -m tests.cross.run

fuzz: # on Linux or macOS: 15 minutes
	python -m tests.fuzz
	python -m tests.fuzz.interrupted

mutants: # ten minutes: 61 mistakes, one at a time, in a copy of the code; which tests see them
	python -m tests.mutants.run

format:
	ruff check --fix .
	ruff format .

demo:
	vaezip demo

docs: # pip install -e '.[docs]'; then build/site/index.html
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet -f cli/docs/mkdocs.yml
