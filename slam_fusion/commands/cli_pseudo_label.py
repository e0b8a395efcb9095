# SPDX-License-Identifier: Apache-2.0
"""The command that lets an expert label images: ``pseudo-label``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slam_fusion.commands.cli_evaluate import DatasetSpec
from slam_fusion.commands.cli_options import given

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from mtl_perception.data.pseudo_labels import Expert
    from mtl_perception.data.sample import Dataset, Sample


def pseudo_label(
    dataset: DatasetSpec,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the labels; goes on there.")],
    model: Annotated[
        str | None, typer.Option(help="The expert: a name of `models list`, or a file.")
    ] = None,
    map_file: Annotated[
        Path | None,
        typer.Option("--map", help="The expert is a labelled map, seen from the images' poses."),
    ] = None,
    label_set: Annotated[str, typer.Option(help="Set of the labels.")] = "nyu40",
    confidence_threshold: Annotated[
        float, typer.Option(help="Pixels less certain than this get no label.")
    ] = 0.5,
    threads: Annotated[int | None, typer.Option(help="Threads of the network; 0 = all.")] = None,
) -> None:
    """Let a network, or a map, label the images of a data set for training; goes on if stopped."""
    from mtl_perception.conventions import InvalidInput
    from mtl_perception.data.open_dataset import open_dataset
    from mtl_perception.data.pseudo_labels import Expert
    from mtl_perception.labels import load_label_set
    from mtl_perception.models import checksum, find_model
    from mtl_perception.predictor import Predictor, PredictorConfig

    images, wanted = open_dataset(dataset), load_label_set(label_set)
    if map_file is not None:
        from slam_fusion.map_labels import MapLabeller
        from slam_fusion.output.export import MAP_FILE

        if model is not None:
            raise InvalidInput("the expert is a network or a map: give --model or --map")
        path = map_file / MAP_FILE if map_file.is_dir() else map_file
        labeller = MapLabeller(path, images, wanted, confidence_threshold)
        expert = Expert(f"map {path.parent.name}", checksum(path), wanted, confidence_threshold)
        _write_labels(images, labeller, expert, out)
        return
    config = PredictorConfig(
        label_set=label_set,
        confidence_threshold=confidence_threshold,
        **given(model=model, threads=threads),
    )
    predictor, path = Predictor(config), find_model(config.model)
    expert = Expert(path.name, checksum(path), predictor.label_set, confidence_threshold)
    _write_labels(images, lambda _, sample: predictor(sample.color).labels, expert, out)


def _write_labels(
    images: "Dataset",
    predict: "Callable[[int, Sample], np.ndarray]",
    expert: "Expert",
    out: Path,
) -> None:
    """Label what is not labelled yet, with a bar; exit 130 where the user stopped it."""
    from rich.progress import track

    from mtl_perception.data.pseudo_labels import LabelledFile, write_pseudo_labels
    from slam_fusion.commands.interrupt import stop_on_signal

    shares: list[float] = []
    steps = iter(track(range(len(images)), "labelling"))
    with stop_on_signal("stopping after this image") as stop:

        def on_sample(line: LabelledFile) -> bool:
            shares.append(line.labelled)
            next(steps, None)
            return not stop.is_set()

        count = write_pseudo_labels(images, predict, expert, out, on_sample)
    next(steps, None)  # ends the bar
    typer.echo(
        f"{len(shares)} of {len(images)} images have labels in {out} ({count} of them new), on "
        f"{sum(shares) / max(1, len(shares)):.1%} of their pixels"
    )
    if len(shares) < len(images):
        typer.echo("stopped; the same command goes on")
        raise typer.Exit(130)


COMMANDS = {"pseudo-label": pseudo_label}
