# Each target sets up what it needs: a virtual environment in .venv, then the pinned packages.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo install compare test lint figure gpu-check clean

# Faces by the weights that are shipped, then a small training run, then a page of both. DEVICE=cpu leaves a GPU alone.
FACES := pretrained/p_2m_32
ON := $(if $(DEVICE),--device $(DEVICE))
demo: .venv/installed
	@echo "Drawing 64 faces with the weights in $(FACES), 25 network evaluations each."
	@mkdir -p demo
	@$(BIN)/python sample.py $(FACES) --sampler dpm --steps 25 -o demo/faces.png --overwrite $(ON)
	@echo "The faces are in $(CURDIR)/demo/faces.png: nobody's, all drawn from noise."
	@echo
	@echo "Training S on synthetic images, 3 to 6 minutes on 2 CPU cores. After each stage it measures what its samples show."
	$(BIN)/python train_celeba_s_32.py --demo --output-dir demo --overwrite $(ON)
	@echo
	@$(BIN)/python compare.py demo/contents_s_32 -o demo/demo.html --overwrite \
		--picture demo/faces.png "64 faces by the weights in $(FACES), 25 network evaluations each"
	@echo "Open this page in a browser and press Play to see coarse come before fine: $(CURDIR)/demo/demo.html"

install: .venv/installed

# Finished runs, in RUNS (default: here), to an evaluation table and a page in one go: make compare RUNS=runs DATA=faces.
# FLOOR= leaves out the row of real images, which needs images outside the reference; EVALUATE='--steps 100' adds flags.
RUNS ?= .
FLOOR ?= --floor
FINISHED = $(sort $(patsubst %/latest.pt,%,$(wildcard $(RUNS)/checkpoints_*32/latest.pt)))
compare: .venv/installed-eval
	@test -n "$(FINISHED)" || { echo "There is no run in $(RUNS): train one, or say where they are with RUNS=FOLDER."; exit 1; }
	$(BIN)/python evaluate.py $(FINISHED) $(if $(DATA),--data-path $(DATA)) \
		$(FLOOR) --output-dir $(RUNS)/evaluation --overwrite $(EVALUATE)
	$(BIN)/python compare.py $(subst checkpoints_,contents_,$(FINISHED)) -o $(RUNS)/compare.html --overwrite

test: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest -n auto --maxprocesses 8

lint: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

gpu-check: .venv/installed-dev
	$(BIN)/python -m benchmarks.gpu_check --output-dir $(or $(OUTPUT),gpu_check)

# A timeline of runs, in RUN, and of models: make figure RUN="contents_32 contents_c_32 pretrained/s_1m_32" OUTPUT=mine.png
GRIDS = $(wildcard contents_32/metrics.csv contents_c_32/metrics.csv)
MODELS = pretrained/s_1m_32 pretrained/cs_32 pretrained/cr_32
figure: .venv/installed-dev
	$(BIN)/python docs/figure1_timeline.py $(or $(RUN),$(GRIDS:/metrics.csv=) $(MODELS)) \
		-o $(or $(OUTPUT),timeline.png)

clean:
	rm -rf .venv demo

.venv/installed: requirements.txt constraints.txt
	@echo "Installing, once. Step 1 of 2: a Python environment in .venv; a few seconds."
	$(PYTHON) -m venv .venv
	@echo "Step 2 of 2: PyTorch and what else requirements.txt names: about 5 GB on disk under Linux, as PyTorch brings its GPU"
	@echo "libraries. 2 to 10 minutes, most of it downloads, which pip shows; then it unpacks in silence for a minute or two."
	@began=$$(date +%s); $(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt -c constraints.txt \
		&& echo "Installed in $$(($$(date +%s) - began)) seconds."
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt requirements-extras.txt requirements-experiments.txt
	@echo "Installing the tools of development: ruff, pytest and what the optional parts need; a minute or two."
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt -c constraints.txt
	touch $@

.venv/installed-eval: .venv/installed requirements-eval.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-eval.txt -c constraints.txt
	@touch $@
