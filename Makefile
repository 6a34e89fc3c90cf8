# Two commands do everything on a fresh machine with Python 3.11 or newer: `make run` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DETECTOR ?=
PORT ?= 8000
JSON ?=
DATA ?= ../shared/data
RECORDED := $(wildcard $(addprefix $(DATA)/,ADL-Rundle-6 UAV123-wakeboard10 PETS09-S2L1))
COMPOSITES := $(if $(wildcard $(DATA)/derive.py),mosaic pan plaza4k)
FRAMES_mosaic := 150
FRAMES_pan := 300
FRAMES_plaza4k := 60
STREETS := 'synthetic:1920x1080@30?objects=30&seed=201&frames=150' 'synthetic:1280x720@10?objects=25&seed=202&pan=1&shake=1&frames=100' 'synthetic:1920x1080@10?objects=25&seed=203&night=1&frames=100'
EVALUATED ?= $(or $(strip $(RECORDED) $(addprefix $(OUT)/composites/,$(COMPOSITES))),$(STREETS))
SNAPSHOTS := $(if $(filter file,$(origin EVALUATED)),$(wildcard $(addprefix $(DATA)/MOT17-mini/,MOT17-04-FRCNN MOT17-02-FRCNN)))
CLIPS ?= $(wildcard $(addprefix $(DATA)/clips/,$(addsuffix .mp4,one-by-one-person-detection person-bicycle-car-detection-7sec udacity_solidWhiteRight udacity_vd_test_video)))
TEACHERS ?= $(wildcard $(addprefix $(DATA)/../weights/,yolox_nano_dynamic.onnx nanodet_m_416.onnx))
PEOPLE ?=
BACKGROUNDS ?=
STEPS ?= 5000 4000
EXTRA ?= gpu
OUT ?=
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run test lint bench soak capacity evaluate train detector gpu-check metrics-docs dashboards up lock clean install install-dev install-train install-engines

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: install ## Start the service on http://127.0.0.1:8000 with a demo session (DETECTOR=FILE.onnx or NAME, PORT=8000)
	$(BIN)/flexpatch serve --demo --port $(PORT) $(if $(DETECTOR),--detector $(DETECTOR))

test: lint ## Lint, types, layers and the whole default test suite
	$(BIN)/python -m pytest -m "not slow" -n auto --dist loadgroup

lint: install-dev ## Formatting, lint, types and import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: install ## Milliseconds per stage on the synthetic street (DETECTOR=FILE.onnx JSON=FILE)
	$(BIN)/flexpatch bench $(if $(DETECTOR),--detector $(DETECTOR)) $(if $(JSON),--json $(JSON))

define derive
	@test -e $(1)/seqinfo.ini || $(BIN)/python $(DATA)/derive.py $(2) $(1) --frames $(FRAMES_$(2))

endef

soak: install-dev ## Let cameras fail at random before a real service (ARGS="--cameras 8 --faults 200")
	$(BIN)/python -m tests.soak.cameras $(ARGS)

capacity: install-dev ## How many 1080p15 cameras this machine carries, and what gives first (ARGS="--cameras 4 8 12")
	$(BIN)/python -m tests.soak.capacity $(ARGS)

evaluate: EVALUATE = $(BIN)/flexpatch evaluate $(if $(DETECTOR),--detector $(DETECTOR))
evaluate: OUT := $(or $(OUT),out/evaluation)
evaluate: install-dev ## Accuracy against pixels, beside every rival (DETECTOR=FILE.onnx EVALUATED="FOLDER …" OUT=DIR)
	@mkdir -p $(OUT)
	$(foreach folder,$(filter $(OUT)/composites/%,$(EVALUATED)),$(call derive,$(folder),$(notdir $(folder))))
	$(EVALUATE) $(EVALUATED) --json $(OUT)/rows.json --plots $(OUT)
	$(if $(SNAPSHOTS),$(EVALUATE) $(SNAPSHOTS) --fps 30 --json $(OUT)/snapshots.json)
	$(BIN)/flexpatch summary $(OUT)/rows.json $(if $(SNAPSHOTS),$(OUT)/snapshots.json) --plot $(OUT)/overview.png > $(OUT)/summary.md
	@echo "Written    $(OUT)/summary.md"

train: OUT := $(or $(OUT),out/train)
train: install-dev ## Train the tracking-failure model on synthetic streets (DETECTOR=FILE.onnx OUT=DIR)
	$(BIN)/flexpatch train --output $(OUT) $(if $(DETECTOR),--detector $(DETECTOR))

detector: OUT := $(or $(OUT),out/detector)
detector: install-train ## Train the shipped detector, for hours (CLIPS="FILE …" TEACHERS="FILE …" IMITATE=FILE PEOPLE=DIR BACKGROUNDS=DIR)
	$(BIN)/flexpatch train-detector --output $(OUT) $(addprefix --steps ,$(STEPS)) $(if $(SEED),--seed $(SEED)) $(addprefix --clip ,$(CLIPS)) $(addprefix --teacher ,$(TEACHERS)) \
		$(if $(IMITATE),--imitate $(IMITATE)) $(if $(PEOPLE),--people $(PEOPLE)) $(if $(BACKGROUNDS),--backgrounds $(BACKGROUNDS))

gpu-check: OUT := $(or $(OUT),out/gpu)
gpu-check: install-dev ## On a machine with an NVIDIA GPU: the tests that need one, then a report (EXTRA=gpu|rtx OUT=DIR)
	@$(PIP) install -e ".[$(EXTRA)]"
	@mkdir -p $(OUT)
	REQUIRE_GPU=1 $(BIN)/python -m pytest -m gpu tests/gpu
	$(BIN)/python -m tests.gpu.measure > $(OUT)/report.json && cat $(OUT)/report.json

metrics-docs: install ## Write docs/metrics.md anew, from the code
	@mkdir -p docs && $(BIN)/python -m app.telemetry.describe > docs/metrics.md

dashboards: install-dev ## Ask a real Prometheus all that dashboards and alerts ask (needs Debian's package prometheus)
	$(BIN)/python -m tests.docker.expressions

up: ## The service with a camera, Prometheus and Grafana, in Docker
	docker compose up --build --detach --wait

lock: ## Resolve pyproject.toml anew into the two lock files
	$(PYTHON) -m venv $(VENV)/lock && $(VENV)/lock/bin/pip --quiet install uv
	$(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml
	$(VENV)/lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev
install-train: $(VENV)/installed-train
install-engines: $(VENV)/installed-engines

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12"; exit 1; }
	@echo "Creating $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --upgrade pip

$(VENV)/installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing the locked packages"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps -e .
	@touch $@

$(VENV)/installed-dev: requirements-dev.lock $(VENV)/installed
	@echo "Installing what lint and tests need"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

# What needs no GPU: TensorRT-RTX builds engines, NVRTC compiles kernels. Not in the lock file, as few need them.
$(VENV)/installed-engines: pyproject.toml $(VENV)/installed-dev
	@echo "Installing TensorRT-RTX, CUDA for Python and OpenVINO"
	@$(PIP) install -e ".[rtx,openvino]"
	@touch $@

# Not in the lock file: which build of PyTorch there is hangs on the machine, and only training needs it.
$(VENV)/installed-train: $(VENV)/installed-dev
	@echo "Installing PyTorch, which only the training of the detector needs"
	@$(PIP) install "torch==2.13.*"
	@touch $@
