# SPDX-License-Identifier: Apache-2.0
"""A run from its configuration to its files: start or resume, train, judge, save.

| file in the run's folder | what                                                                |
|--------------------------|---------------------------------------------------------------------|
| run.pt                   | everything to go on with, see ``run_state``                         |
| network.safetensors      | the network so far (mean of its weights), as the predictor reads it |
| config.yaml              | what the run is                                                     |
| report.html, pictures/   | figures, curves and held-out images, when the run is complete       |
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mtl_perception.atomic_file import atomic_file
from mtl_perception.conventions import InvalidInput
from mtl_perception.data.open_dataset import open_dataset
from mtl_perception.data.sample import Dataset
from mtl_perception.labels import LabelSet, load_label_set
from mtl_perception.networks.checkpoint import save_network
from mtl_perception.networks.nekrasov import NekrasovConfig
from mtl_perception.networks.presets import build, find_preset
from mtl_perception.networks.xdistill_depth import XDistillConfig
from mtl_perception.networks.xdistill_groups import load_class_groups
from mtl_perception.training.balance import class_weights
from mtl_perception.training.config import TrainConfig
from mtl_perception.training.config_file import config_of, to_yaml
from mtl_perception.training.distributed import Processes, any_of, processes, wait
from mtl_perception.training.engine import Engine, Step, TrainingDiverged
from mtl_perception.training.fast_depthwise import use_fast_depthwise
from mtl_perception.training.fast_pool import use_fast_pool
from mtl_perception.training.loader import Loader, Mixture
from mtl_perception.training.objective import NekrasovObjective, objective_for
from mtl_perception.training.objective_xdistill import XDistillObjective
from mtl_perception.training.precision import device_of
from mtl_perception.training.report import write_pictures, write_report
from mtl_perception.training.run_state import STATE_FILE, RunState, load_run, save_run
from mtl_perception.training.start import start_weights
from mtl_perception.training.validation import judge, predictor_of

NETWORK_FILE = "network.safetensors"
CONFIG_FILE = "config.yaml"

MAY_CHANGE = frozenset(
    ("steps", "save_every", "validation", "bad_steps", "device", "threads", "workers")
)
"""Fields of the configuration that a resumed run may have otherwise."""

logger = logging.getLogger(__name__)


def train(
    config: TrainConfig,
    folder: Path,
    tell: Callable[[RunState, Step], None] = lambda *_: None,
    stopped: Callable[[], bool] = lambda: False,
) -> RunState:
    """Train, or go on with the run that ``folder`` holds; return what was done.

    Args:
        config: the run.
        folder: for its files; made if need be.
        tell: called after every step of the first process.
        stopped: asked after every step; True saves the run and ends it.

    Raises:
        InvalidInput: the configuration contradicts itself, or the folder holds another run.
        DataMissing, DataCorrupt: a data set's file, named.
        TrainingDiverged: too many steps without a finite loss.
        RunCorrupt: the folder's run is damaged.
        OSError: the folder cannot be written, or the disk is full.
    """
    device = device_of(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    with processes(device.type == "cuda") as group:
        if device.type == "cuda":
            device = torch.device("cuda", group.local_rank)
        folder.mkdir(parents=True, exist_ok=True)
        run = Run(config, folder, device, group)
        run.go(tell, stopped)
        return run.engine.state


class Run:
    """A run in this process."""

    def __init__(
        self, config: TrainConfig, folder: Path, device: torch.device, group: Processes
    ) -> None:
        """Open the data, build the network, and read the folder's state if there is one."""
        self.config, self.folder, self.group = config, folder, group
        label_sets = label_sets_of(config)
        datasets = tuple(open_dataset(source.dataset) for source in config.sources)
        for dataset in datasets:
            check_label_set(dataset, label_sets or taught_sets(config))
        mixture = Mixture(datasets, tuple(source.weight for source in config.sources))
        self.loader = Loader(
            mixture,
            config.view,
            config.focal_px,
            config.seed,
            config.batch,
            group.rank,
            group.world,
        )
        self.held_out = (
            open_dataset(config.validation.dataset) if config.validation.dataset else None
        )
        self.label_sets = label_sets
        torch.manual_seed(config.seed)
        network = make_network(config)
        objective = objective_for(network.config, config.loss)
        resumes = (folder / STATE_FILE).exists()
        if config.start and not resumes:
            start_weights(network, Path(config.start), mixture)
            if isinstance(objective, XDistillObjective):
                objective.start_from(network)
        if config.loss.balance and not resumes:
            balance(objective, mixture, config)
        if device.type == "cpu":
            use_fast_depthwise(network)
            if config.separable_pool:
                use_fast_pool(network)
        self.engine = Engine(config, network, objective, device, group)
        if resumes:
            self._resume()
        self.engine.state.starts += 1

    def _resume(self) -> None:
        state, tensors, was = load_run(self.folder)
        before = config_of(was)
        pairs = {
            f.name: (getattr(before, f.name), getattr(self.config, f.name)) for f in fields(before)
        }
        differ = [k for k, (old, new) in pairs.items() if k not in MAY_CHANGE and old != new]
        if differ:
            told = "; ".join(f"{k} was {pairs[k][0]!r}, is {pairs[k][1]!r}" for k in differ)
            raise InvalidInput(f"{self.folder} holds another run: {told}")
        self.engine.restore(state, tensors)
        logger.info("%s: goes on at step %d", self.folder, state.step)

    def go(self, tell: Callable[[RunState, Step], None], stopped: Callable[[], bool]) -> None:
        """Make the steps that are left; see ``train``."""
        engine, state, config = self.engine, self.engine.state, self.config
        began = time.monotonic() - state.seconds
        for number, batch in self.loader.batches(state.step, config.steps, config.workers):
            step = engine.step(batch)
            state.step = number + 1
            state.seconds = time.monotonic() - began
            state.note(step.losses, step.gradient)
            if step.problem:
                self._count_bad(step, batch.names)
            stop, last = any_of(stopped(), self.group.world), state.step == config.steps
            if self.held_out and (last or state.step % config.validation.every == 0):
                self._judge(self.held_out)
            if last or stop or state.step % config.save_every == 0:
                self._save()
            if self.group.first:
                tell(state, step)
            if stop:
                return
        if self.group.first:
            self._report()

    def _report(self) -> None:
        """Write the run's page, with pictures of held-out images where there are such."""
        shown = []
        if self.held_out:
            height, focal_px = self.config.validation.height, self.config.focal_px
            predict = predictor_of(self.averaged(), height, focal_px)
            shown = write_pictures(self.folder, self.held_out, predict)
        write_report(self.folder, self.engine.state, to_yaml(self.config), shown)

    def _count_bad(self, step: Step, names: tuple[str, ...]) -> None:
        """Note a step that left the weights as they were; stop when there are too many."""
        state = self.engine.state
        state.bad_steps.append({"step": state.step, "why": step.problem, "samples": list(names)})
        logger.warning("step %d: %s; of %s", state.step, step.problem, ", ".join(names))
        if len(state.bad_steps) > self.config.bad_steps:
            first = state.bad_steps[0]
            raise TrainingDiverged(
                f"{len(state.bad_steps)} steps without a finite loss or gradient; the first was "
                f"step {first['step']} ({first['why']}) with {', '.join(first['samples'])}"
            )

    def averaged(self) -> nn.Module:
        """Return a copy of the network with the running mean of its weights."""
        network = build(self.engine.network.config)
        network.load_state_dict(self.engine.mean.state)
        return network.to(self.engine.device, memory_format=torch.channels_last).eval()

    def _judge(self, held_out: Dataset) -> None:
        """Judge the mean of the weights; every process does, so that none has to wait long."""
        config = self.config
        metrics = judge(self.averaged(), held_out, config.validation.height, config.focal_px)
        self.engine.state.judged.append({"step": self.engine.state.step, **metrics})

    def _save(self) -> None:
        """Write run and network; the other processes wait for the first one."""
        if self.group.first:
            save_run(
                self.folder, self.engine.state, self.engine.tensors(), _plain(asdict(self.config))
            )
            save_network(
                self.folder / NETWORK_FILE,
                self.averaged().cpu(),
                *self.label_sets,
                focal_px=self.config.focal_px,
                input_height=self.config.validation.height,
            )
            with atomic_file(self.folder / CONFIG_FILE) as file:
                file.write(to_yaml(self.config).encode())
        wait(self.group.world)


def balance(objective: nn.Module, mixture: Mixture, config: TrainConfig) -> None:
    """Give rare classes more weight in a Nekrasov objective, as ``loss.balance`` asks.

    Raises:
        InvalidInput: another objective.
    """
    if not isinstance(objective, NekrasovObjective):
        raise InvalidInput(f"loss.balance {config.loss.balance}: {config.network} has no such")
    weights = objective.class_weights  # a buffer: kept with the run
    weights.copy_(class_weights(mixture, len(weights), config.loss.balance, config.seed))


def make_network(config: TrainConfig) -> nn.Module:
    """Build the network that a run trains, with random weights.

    Raises:
        InvalidInput: no preset has that name.
    """
    preset = find_preset(config.network)
    if isinstance(preset, NekrasovConfig):
        preset = replace(preset, separable_pool=config.separable_pool)
    return build(preset)


def label_sets_of(config: TrainConfig) -> tuple[LabelSet, ...]:
    """Return the meaning of the network's label channels; empty without such."""
    named = getattr(find_preset(config.network), "label_sets", ())
    return tuple(load_label_set(name) for name, _ in named)


def taught_sets(config: TrainConfig) -> tuple[LabelSet, ...]:
    """Return the meaning of the labels that teach X-Distill's depth; empty for other methods."""
    if not isinstance(find_preset(config.network), XDistillConfig) or not config.loss.cross_task:
        return ()
    return (load_class_groups(config.loss.groups).source,)


def check_label_set(dataset: Dataset, wanted: tuple[LabelSet, ...]) -> None:
    """Refuse labels that mean something else than the network's channels.

    Raises:
        InvalidInput: naming both label sets.
    """
    if dataset.label_set is None or not wanted:
        return
    if len(wanted) > 1 or dataset.label_set != wanted[0]:
        raise InvalidInput(
            f"{dataset.name}: labels of {dataset.label_set.name!r}, the network has "
            f"{', '.join(repr(s.name) for s in wanted)} (a data set's remap=NAME converts)"
        )


def _plain(values: Any) -> Any:
    """As JSON has it: tuples become lists."""
    return json.loads(json.dumps(values))
