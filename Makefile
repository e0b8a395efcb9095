# SPDX-License-Identifier: Apache-2.0
# Verbs of the project. Each one makes the environment that it needs, once.
#
#   PYTHON=python3.10   interpreter; any other than python3 gets an environment of its own
#   BAG=path            recording for `make demo`
#   ARGS="-k volume"    further arguments for pytest

PYTHON ?= python3
ifeq ($(PYTHON),python3)
VENV := .venv
else
VENV := .venv-python$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
RUN := $(VENV)/bin/python

# What these verbs publish stays on this machine, in a DDS domain of their own.
demo test bench: export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST
demo test bench: export ROS_DOMAIN_ID := $(shell echo $$(($$(od -An -N1 -tu1 /dev/urandom) % 100 + 1)))
# Model files that lie beside the checkout are used instead of a download.
MODELS := $(abspath $(wildcard ../shared/data/models))
ifneq ($(MODELS),)
export DENSE_SLAM_MODELS ?= $(MODELS)
endif

.PHONY: help setup demo test lint format bench clean

help:  ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

setup:  ## make the environment: Python packages, and system libraries where allowed
	@scripts/setup.sh $(PYTHON) $(VENV)

demo: setup  ## map a synthetic room through the real nodes, or the recording BAG=...
	@$(VENV)/bin/dense-semantic-slam demo $(if $(BAG),--bag "$(BAG)" -o out/map,-o out/demo)

# A ROS install's pytest plugins are made for its own, older pytest.
test: setup  ## run the tests
	@PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $(RUN) -m pytest $(ARGS)

lint: setup  ## ruff, and mypy on the parts without ROS
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(RUN) -m mypy

format: setup  ## put the code into the house style
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

bench: setup  ## time our fusion against Open3D's, and every runtime of the joint network
	@$(RUN) -m benchmarks

clean:  ## remove outputs and caches; the environments stay
	@rm -rf build install log out *.egg-info .pytest_cache .mypy_cache .ruff_cache
	@find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
