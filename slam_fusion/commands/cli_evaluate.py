# SPDX-License-Identifier: Apache-2.0
"""Commands on images with truth: ``pseudo-label``."""

from pathlib import Path
from typing import Annotated

import typer

from slam_fusion.commands.cli_options import given

DatasetSpec = Annotated[
    str,
    typer.Argument(
        help="KIND:PATH?option=value, e.g. rgbd:FOLDER?frames=0-798; or several with ' + '."
    ),
]


def pseudo_label(
    dataset: DatasetSpec,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the labels; goes on there.")],
    model: Annotated[
        str | None, typer.Option(help="The expert: a name of `models list`, or a file.")
    ] = None,
    label_set: Annotated[str, typer.Option(help="Set of the labels.")] = "nyu40",
    confidence_threshold: Annotated[
        float, typer.Option(help="Pixels less certain than this get no label.")
    ] = 0.5,
    threads: Annotated[int | None, typer.Option(help="Threads of the network; 0 = all.")] = None,
) -> None:
    """Let a network label the images of a data set, for training; stopped work goes on."""
    from rich.progress import track

    from mtl_perception.data.open_dataset import open_dataset
    from mtl_perception.data.pseudo_labels import Expert, LabelledFile, write_pseudo_labels
    from mtl_perception.models import checksum, find_model
    from mtl_perception.predictor import Predictor, PredictorConfig
    from slam_fusion.commands.interrupt import stop_on_signal

    images = open_dataset(dataset)
    config = PredictorConfig(
        label_set=label_set,
        confidence_threshold=confidence_threshold,
        **given(model=model, threads=threads),
    )
    predictor = Predictor(config)
    path = find_model(config.model)
    expert = Expert(path.name, checksum(path), predictor.label_set, confidence_threshold)
    shares: list[float] = []
    steps = iter(track(range(len(images)), "labelling"))
    with stop_on_signal("stopping after this image") as stop:

        def on_sample(line: LabelledFile) -> bool:
            shares.append(line.labelled)
            next(steps, None)
            return not stop.is_set()

        count = write_pseudo_labels(
            images, lambda rgb: predictor(rgb).labels, expert, out, on_sample
        )
    next(steps, None)  # ends the bar
    typer.echo(
        f"{len(shares)} of {len(images)} images have labels in {out} ({count} of them new), on "
        f"{sum(shares) / max(1, len(shares)):.1%} of their pixels"
    )
    if len(shares) < len(images):
        typer.echo("stopped; the same command goes on")
        raise typer.Exit(130)


COMMANDS = {"pseudo-label": pseudo_label}
