# Every target sets up what it needs by itself, once (tools/setup.sh).

RUN := PATH="$(CURDIR)/.venv/bin:$$PATH"
PYTEST := $(RUN) pytest

.PHONY: help setup demo test test-unit test-root test-vm test-interop support bench \
	check lint format-check mypy pyright imports layout format

help:
	@echo "make demo          run the main job on this machine: containers under limits"
	@echo "make test          every test lane that this machine can run"
	@echo "make test-unit     no root, no cgroups, no containers"
	@echo "make test-root     on the kernel that runs here, as root"
	@echo "make test-vm       in guests with systemd as PID 1"
	@echo "make test-interop  through other people's clients"
	@echo "make support       write README's table from what the guests show"
	@echo "make check         ruff, mypy, pyright, import-linter, the layout of the checkout"
	@echo "make bench         the measurements of docs/benchmarks.md"
	@echo "make format        let ruff rewrite the layout of the source"

setup:
	@tools/setup.sh

demo:
	@tools/setup.sh demo
	@$(RUN) examples/demo.sh

test:
	@tools/setup.sh root vm
	@$(PYTEST)

test-unit test-root test-vm test-interop: test-%:
	@tools/setup.sh $*
	@$(PYTEST) --lane=$*

support:
	@tools/setup.sh vm
	@$(PYTEST) --lane=vm --fill-in

bench:
	@tools/setup.sh bench vm
	@$(RUN) python -m tests.bench

check: lint format-check mypy pyright imports layout

lint: setup
	@$(RUN) ruff check

format-check: setup
	@$(RUN) ruff format --check

format: setup
	@$(RUN) ruff format

mypy: setup
	@$(RUN) mypy

pyright: setup
	@$(RUN) pyright

imports: setup
	@$(RUN) lint-imports --no-logo

layout: setup
	@$(PYTEST) -q tests/test_layout.py
