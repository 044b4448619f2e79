.PHONY: install check lint types test cross fuzz format demo

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

cross: # needs qemu-user-static, and ziglang or $$ZIG
	python -m tests.cross.run

fuzz: # on Linux or macOS: 15 minutes
	python -m tests.fuzz
	python -m tests.fuzz.interrupted

format:
	ruff check --fix .
	ruff format .

demo:
	vaezip demo
