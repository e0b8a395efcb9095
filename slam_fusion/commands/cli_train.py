# SPDX-License-Identifier: Apache-2.0
"""Command that trains networks: ``train``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mtl_perception.training.run_state import RunState

Config = Annotated[Path, typer.Argument(help="YAML; the settings of config/training/*.yaml.")]
RunFolder = Annotated[Path, typer.Option("--out", "-o", help="Folder of the run; goes on there.")]
Setting = Annotated[
    list[str] | None, typer.Option("--set", help="NAME=VALUE wins over the file; view.width=320.")
]


def train(
    config: Config,
    out: RunFolder,
    settings: Setting = None,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard files too.")] = False,
) -> None:
    """Train a network; a run that was stopped, or killed, goes on where its last save is."""
    from mtl_perception.inference.runtimes import require_modules

    require_modules("train", "torch", "safetensors")
    from mtl_perception.training.config_file import load_config
    from mtl_perception.training.run import train as run
    from mtl_perception.training.watch import watching
    from slam_fusion.commands.interrupt import stop_on_signal

    wanted = load_config(config, settings or [])
    with (
        stop_on_signal("saving and stopping after this step") as stop,
        watching(out, wanted.steps, tensorboard) as tell,
    ):
        state = run(wanted, out, tell, stop.is_set)
    if os.environ.get("RANK", "0") == "0":  # of several processes, one says what they did
        typer.echo(_summary(state, out))


def _summary(state: "RunState", out: Path) -> str:
    """Say what the run did, and what it left out."""
    lines = [f"{out}: {state.step} steps in {state.seconds / 60:.1f} min, {state.starts} start(s)"]
    if state.bad_steps:
        lines.append(f"{len(state.bad_steps)} steps were not finite and changed nothing")
    if state.judged:
        told = state.judged[-1]
        lines.append("held out: " + ", ".join(f"{k} {v:.4g}" for k, v in told.items()))
    return "\n".join(lines)


COMMANDS = {"train": train}
