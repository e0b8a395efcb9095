# SPDX-License-Identifier: Apache-2.0
"""A run on disk: everything that the next step depends on, so that a killed run goes on."""

import io
import json
import math
import pickle
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtl_perception.atomic_file import atomic_file
from mtl_perception.conventions import DenseSlamError

STATE_FILE = "run.pt"
CURVE_EVERY = 20
"""Steps per point of the curves."""

SMOOTHING = 20
"""Steps over which losses are averaged for the curves, exponentially."""

FORMAT, VERSION = "dense_semantic_slam.run", 1


class RunCorrupt(DenseSlamError):
    """A run's file is damaged, or is not one; the message says which."""


@dataclass
class RunState:
    """What a run has done so far, besides the weights that its modules hold."""

    step: int = 0  # steps done, = the next step's number
    bad_steps: list[dict[str, Any]] = field(default_factory=list)  # step, reason, samples
    curves: list[dict[str, float]] = field(default_factory=list)  # losses and rates by step
    judged: list[dict[str, Any]] = field(default_factory=list)  # step and metrics
    recent: dict[str, float] = field(default_factory=dict)  # running means of losses
    seconds: float = 0.0  # of training, over all starts
    starts: int = 0  # 1 = never interrupted

    def note(self, losses: dict[str, float], gradient: float) -> None:
        """Take a step's losses into the running means, and now and then those into the curves."""
        for name, value in {**losses, "gradient": gradient}.items():
            if math.isfinite(value):
                old = self.recent.get(name, value)
                self.recent[name] = old + (value - old) / SMOOTHING
        if self.step % CURVE_EVERY == 0:
            self.curves.append({"step": self.step, **self.recent})


def save_run(folder: Path, state: RunState, tensors: dict[str, Any], config: dict) -> None:
    """Write a run; the file shows the old state or the new one, never half of it.

    Args:
        folder: of the run.
        state: progress.
        tensors: state_dicts by name.
        config: what the run is, JSON types.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    content = {
        "format": FORMAT,
        "version": VERSION,
        "about": json.dumps({"config": config, "state": vars(state)}),
        "random": torch.get_rng_state(),
        **tensors,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_file(folder / STATE_FILE) as file:
        file.write(buffer.getbuffer())


def load_run(folder: Path) -> tuple[RunState, dict[str, Any], dict]:
    """Read what ``save_run`` wrote: progress, state_dicts by name, config.

    Nothing in the file is run: only tensors and plain values are unpickled.

    Raises:
        RunCorrupt: damaged, or something else; names the file.
    """
    path = folder / STATE_FILE
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT or content["version"] != VERSION:
            raise RunCorrupt(f"{path}: is {content['format']} {content['version']}, not a run")
        about = json.loads(content.pop("about"))
        state = RunState(**about["state"])
        random: Tensor = content.pop("random")
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
    ) as error:
        first = (str(error).splitlines() or [""])[0][:200]
        raise RunCorrupt(f"{path}: damaged: {type(error).__name__} {first}") from None
    torch.set_rng_state(random)
    return state, content, about["config"]
