# SPDX-License-Identifier: Apache-2.0
"""Command that compares ways to train: ``ablate``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtl_perception.training.ablations.budget import AblationConfig

if TYPE_CHECKING:
    from mtl_perception.training.ablations.results import Result
    from mtl_perception.training.ablations.studies import Study

Name = Annotated[str, typer.Argument(help="joint, expert, pad-net, mti-net or x-distill.")]
Folder = Annotated[Path, typer.Option("--out", "-o", help="Folder of results; goes on there.")]
Train = Annotated[str, typer.Option(help="Data to learn from, KIND:PATH?option=value.")]
Test = Annotated[str, typer.Option(help="Data to judge on, likewise.")]
Start = Annotated[str, typer.Option(help="ImageNet weights of MobileNet-v2 (.tflite too).")]


def ablate(
    name: Name,
    train: Train,
    test: Test,
    out: Folder,
    steps: Annotated[int, typer.Option(help="Of every arm.")] = AblationConfig.steps,
    batch: Annotated[int, typer.Option(help="Images of a step.")] = AblationConfig.batch,
    seeds: Annotated[
        int, typer.Option(help="Times that every arm is trained.")
    ] = AblationConfig.seeds,
    height: Annotated[int, typer.Option(help="Of the images, pixels.")] = AblationConfig.height,
    start: Start = AblationConfig.start,
    threads: Annotated[int, typer.Option(help="Of the processor.")] = AblationConfig.threads,
    precision: Annotated[
        str, typer.Option(help="auto, float32, bfloat16 or float16.")
    ] = AblationConfig.precision,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = AblationConfig.device,
) -> None:
    """Train all arms of an experiment with equal budgets, and say what they show."""
    from mtl_perception.inference.runtimes import require_modules

    require_modules("ablate", "torch", "safetensors", "scipy")
    from mtl_perception.data.open_dataset import open_dataset
    from mtl_perception.training.ablations.run import run_study
    from mtl_perception.training.ablations.small_data import load_small
    from mtl_perception.training.ablations.studies import find_study
    from slam_fusion.commands.interrupt import stop_on_signal

    study = find_study(name)
    config = AblationConfig(
        steps=steps,
        batch=batch,
        seeds=seeds,
        height=height,
        start=start,
        precision=precision,
        threads=threads,
        device=device,
    )
    learn = load_small(open_dataset(train), height, config.images)
    judge = load_small(open_dataset(test), height, config.test_images)
    typer.echo(f"{len(learn)} images of {learn.name} to learn from, {len(judge)} to judge on")
    results = []
    with stop_on_signal("stopping; finished arms stay") as stop:
        for result in run_study(name, config, learn, judge, out, stop.is_set):
            results.append(result)
            told = ", ".join(f"{k} {v:.3f}" for k, v in result.measures.items())
            typer.echo(f"{result.arm}, seed {result.seed}: {told} ({result.seconds:.0f} s)")
    typer.echo(report(study, results) if results else "no arm is finished")


def report(study: "Study", results: Sequence["Result"]) -> str:
    """Return question, table and what the numbers allow to say, as Markdown."""
    from mtl_perception.training.ablations.gain import joint_gain
    from mtl_perception.training.ablations.results import differences, table

    found: list[object] = [*differences(results, study.comparisons)]
    gain = joint_gain(results, study.joint, study.alone) if study.joint else None
    told = "\n".join(f"- {line}" for line in [*found, *([gain] if gain else [])])
    return f"\n{study.question}\n\n{table(results)}\n\n{told}"


COMMANDS = {"ablate": ablate}
