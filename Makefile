# Each target sets up what it needs: a virtual environment in .venv, then the pinned packages.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint figure gpu-check clean

demo: .venv/installed
	$(BIN)/python train_celeba_cs_32.py --demo --output-dir demo --overwrite
	@echo "Look at demo/contents_cs_32/*.png (coarse to fine) and demo/contents_cs_32/recovery.csv."

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n auto --maxprocesses 8

lint: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

gpu-check: .venv/installed-dev
	$(BIN)/python benchmarks/gpu_check.py --output-dir $(or $(OUTPUT),gpu_check)

figure: .venv/installed-dev
	$(BIN)/python docs/figure1_timeline.py $(or $(RUN),contents_c_32)

clean:
	rm -rf .venv demo

.venv/installed: requirements.txt constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -r requirements.txt -c constraints.txt
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt requirements-extras.txt requirements-experiments.txt
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt -c constraints.txt
	touch $@
