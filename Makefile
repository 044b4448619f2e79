.PHONY: install check lint types test format demo

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

format:
	ruff check --fix .
	ruff format .

demo:
	vaezip demo
