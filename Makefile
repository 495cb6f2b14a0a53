# Two commands matter: `make train` and `make test`. Each sets up its own virtual environment first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
WORKERS ?= 2
DEVICE  ?= cpu
SHELL  := /bin/bash

.PHONY: help ratings chat train test sweeps loggers vllm learn check readme docs ablations parity floor newest alone wheel mutants bench bench-wheels pretrain clean
help:      ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/ready: requirements.txt settings.ini setup.py pyproject.toml
	@echo "setting up $(VENV), once: pip now fetches about 2 GB, or 6 GB where torch comes with CUDA"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -r requirements.txt
	$(BIN)/pip install --quiet -c requirements.txt -e ".[dev]"
	touch $@

ratings: $(VENV)/ready ## fetch the human ratings, once; without them a run says so, and learns from labels
	-$(BIN)/rlhf-ratings

chat: $(VENV)/ready ## fetch the chat model of lesson 12 (93 MB), once; without it the lesson cannot run
	-$(BIN)/rlhf-chat-model

train: ratings ## the three steps: demonstrations, comparisons, PPO; options in ARGS="--seed 1"
	$(BIN)/rlhf-train $(ARGS)

# the slow files first: the main job keeps one worker busy; the second takes those that fork from a
# server of its own, then those that share a JupyterLab
SLOW := $(addprefix tests/test_,main_job.py train.py faults.py own_material.py train_chat.py chat.py before_step_one.py labeler.py chat_panel.py texts.py own_labels.py machine.py safety.py memory.py architectures.py processes.py answers.py)
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -q --dist loadfile --no-loadscope-reorder --durations 8
# the parts that take longest first, each in a process of its own, WORKERS at a time; what is beside
# the course's path and has tests of its own (the pages of the commands, too) waits for `make sweeps`
PARTS := '07*.ipynb' '12*.ipynb' '09*.ipynb' '04*.ipynb' '14*.ipynb' '08*.ipynb' '03*.ipynb' '13*.ipynb' '1[01]*.ipynb' '0[1256]*.ipynb' '[g-qy]*.ipynb'
LATER := run protocol.ipynb symptoms.ipynb exercises tools 'deeper/0[1-4]*.ipynb' 'deeper/0[5-9]*.ipynb' 'deeper/1*.ipynb'
NBTEST := TQDM_DISABLE=1 OMP_NUM_THREADS=1 PATH=$(abspath $(BIN)):$$PATH xargs -P $(WORKERS) -I {} nbdev_test --n-workers 1 --timing
test: ratings chat ## the main job, a sample of each sweep, the other tests; then the lessons (they take over steps one and two)
	$(PYTEST) -n $(WORKERS) -m "not sweep" $(SLOW) tests
	cd nbs && printf '%s\n' $(PARTS) | $(NBTEST) --skip-file-re '^protocol' {}

sweeps: ratings chat ## all cases of what `make test` tries a sample of (architectures, damaged files, answers, kills), the pages of commands, exercises and tools, the second pages, and the first hour
	$(PYTEST) -n $(WORKERS) -m sweep tests
	SWEEPS=1 $(PYTEST) -n $(WORKERS) tests/test_fuzz.py tests/test_fuzz_models.py tests/test_properties.py
	cd nbs && printf '%s\n' $(LATER) | $(NBTEST) {}

loggers: $(VENV)/ready ## install TensorBoard, Trackio and Weights & Biases into .venv, and try each (1 minute)
	$(BIN)/pip install --quiet -r tests/loggers/requirements.txt
	$(BIN)/pytest -q tests/test_loggers.py

vllm:      ## let vLLM sample in the agent's place, in an environment of its own (2 GB; on a CPU, two minutes), and compare the two
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet -r tests/vllm_env/requirements.txt
	.venv-vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	.venv-vllm/bin/pip install --quiet --no-deps -e .
	OMP_NUM_THREADS=1 TQDM_DISABLE=1 .venv-vllm/bin/python -m pytest -q tests/test_vllm_sampler.py

AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)
learn: ratings chat ## open the course in JupyterLab, in a copy where answers may stay: learn/
	$(BIN)/python .ci/learn.py
	$(BIN)/jupyter lab $(AS_ROOT) learn/index.ipynb

check: $(VENV)/ready ## modules match notebooks, notebooks are clean, README matches index.ipynb, code keeps its form
	$(BIN)/python .ci/check.py
	$(BIN)/python .ci/form.py

readme: $(VENV)/ready ## write README.md from nbs/index.ipynb
	$(BIN)/python .ci/readme.py

docs: $(VENV)/ready ## build the site into _docs
	PATH=$(abspath $(BIN)):$$PATH $(BIN)/python .ci/docs.py

ablations: ratings ## the runs behind lesson 8 again, into study.jsonl (hours on 2 cores; what is there is kept); options in ARGS="--only ablation"
	$(BIN)/rlhf-study $(ARGS)

parity: $(VENV)/ready ## record TRL's PPO, and its GRPO, RLOO and DPO, again, each in an environment of its own, and compare with what is stored and with ours
	test -x .venv-parity/bin/python || $(PYTHON) -m venv .venv-parity
	.venv-parity/bin/pip install --quiet -r tests/parity/requirements.txt
	test -x build/env-methods/bin/python || $(PYTHON) -m venv build/env-methods
	build/env-methods/bin/pip install --quiet -r tests/parity/requirements_methods.txt
	mkdir -p build && .venv-parity/bin/python tests/parity/record.py build/parity.safetensors
	build/env-methods/bin/python tests/parity/record_methods.py build/methods.safetensors
	$(BIN)/python tests/parity/compare.py build/parity.safetensors build/methods.safetensors

# on x86-64 Linux PyPI's torch brings CUDA's libraries, several GB in each of the two environments
OTHER := $(addprefix tests/test_,machine.py agent.py packing.py ppo.py sft.py reward.py checkpoint.py files.py speed.py train.py faults.py)
floor:     ## tests with the lowest versions that settings.ini admits, in an environment of their own
	test -x .venv-floor/bin/python || $(PYTHON) -m venv .venv-floor
	.venv-floor/bin/pip install --quiet $$($(PYTHON) .ci/lowest.py) pytest hypothesis
	.venv-floor/bin/pip install --quiet --no-deps -e .
	OMP_NUM_THREADS=1 TQDM_DISABLE=1 .venv-floor/bin/python -m pytest -q $(OTHER)

newest:    ## the same tests with the newest versions, and what goes in later ones as an error
	test -x .venv-newest/bin/python || $(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install --quiet --upgrade -e . pytest hypothesis
	OMP_NUM_THREADS=1 TQDM_DISABLE=1 .venv-newest/bin/python -m pytest -q -W "error:.*will be removed:FutureWarning" $(OTHER)

alone:     ## each lesson alone in an empty folder, as in Colab, on PYTHON's newest versions, with Colab's ipywidgets (20 minutes on 2 cores)
	rm -rf build/alone
	$(PYTHON) .ci/alone.py build/alone --python $(PYTHON) --with ipywidgets==7.7.1

wheel: $(VENV)/ready ## build the wheel, check what PyPI would check, and try its commands outside the repository
	rm -rf dist build/wheel && $(BIN)/python -m build --quiet
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/pip install --quiet twine==6.2.0 -c requirements.txt dist/*.whl
	build/wheel/bin/twine check --strict dist/*
	cd / && $(abspath build/wheel/bin)/rlhf-train --help > /dev/null && $(abspath build/wheel/bin)/python -c "from rlhf_nbdev.evaluate import read_study; print(len(read_study()), 'runs of the study are in the wheel')"

mutants: ratings ## break the functions that compute, one by one, and see which test notices (an hour on 2 cores); options in ARGS="--classic"
	$(BIN)/python benchmarks/mutants $(ARGS)

bench: ratings ## TRL's PPO, RLOO, GRPO and DPO in turn with ours on the same work, then each lever, growth, sampling (50 minutes on 2 cores); DEVICE=cuda on a GPU; options in ARGS="--rounds 3"
	$(BIN)/python benchmarks/bench.py --python $(PYTHON) --device $(DEVICE) $(ARGS)
	$(BIN)/python benchmarks/phases.py --device $(DEVICE)
	$(BIN)/python benchmarks/generation.py --device $(DEVICE)
	test $(DEVICE) = cpu || $(BIN)/python benchmarks/gpt2_shape.py --device $(DEVICE)

bench-wheels: $(VENV)/ready ## fetch what bench.py needs beside PyTorch and transformers where there is no network; there: --wheels build/bench-wheels
	$(BIN)/pip download --quiet --no-deps --dest build/bench-wheels trl==1.12.0
	$(BIN)/pip download --quiet --no-deps --dest build/bench-wheels trl==1.16.0 datasets==5.2.0 dill==0.4.1 multiprocess==0.70.19

pretrain: $(VENV)/ready ## train the embedded model again (hours on 2 cores); options in ARGS
	$(BIN)/rlhf-pretrain $(ARGS)

clean:     ## remove what was built
	rm -rf _proc _docs build *.egg-info
