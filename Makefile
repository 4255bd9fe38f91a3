.PHONY: check format lint types test goldens benchmark

check: lint types test

format:
	ruff format .
	ruff check --fix .

lint:
	ruff format --check .
	ruff check .

types:
	mypy

test:
	pytest

goldens:
	pytest --update-goldens

benchmark:
	python benchmarks/startup.py
	python benchmarks/scaling.py
	python benchmarks/check.py
