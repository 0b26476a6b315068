# Everything a developer or a newcomer runs. Only Python (with venv) and make are needed; the rest is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: help install up test check format docs bench soak clean

help:
	@echo "make up        run Towline on this machine (ARGS='--portal-port 9000' for options)"
	@echo "make install   make the environment in .venv, and build the page"
	@echo "make test      run every test; installs or starts what they need (ARGS='-k name' to choose)"
	@echo "make check     ruff, mypy --strict, the house's imports, documentation"
	@echo "make docs      write the generated reference pages anew"
	@echo "make bench     the benchmarks (ARGS=fanout for one)"
	@echo "make soak      load and kills for 30 minutes (SECONDS=180 for another length)"

install:
	@$(PYTHON) tools/setup.py run

up:
	@$(PYTHON) tools/setup.py run
	@exec $(BIN)/towline up $(ARGS)

test:
	@$(PYTHON) tools/setup.py test
	@$(BIN)/python -m pytest $(ARGS)

check:
	@$(PYTHON) tools/setup.py dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_house.py tests/test_docs.py

format:
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

docs:
	$(BIN)/python tools/reference.py

bench:
	@$(PYTHON) tools/setup.py dev
	$(BIN)/python -m benchmarks.run $(ARGS)

SECONDS ?= 1800
soak:
	@$(PYTHON) tools/setup.py test
	TOWLINE_TEST_SOAK=$(SECONDS) $(BIN)/python -m pytest -m soak --timeout 0 $(ARGS)

clean:
	rm -rf .venv build dist src/towline/portal/static web/node_modules
