# SPDX-License-Identifier: Apache-2.0
"""Commands on images with and without truth: ``evaluate``, ``calibrate``, ``pseudo-label``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slam_fusion.commands.cli_options import Json, flag, given

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from mtl_perception.data.pseudo_labels import Expert
    from mtl_perception.data.sample import Dataset, Sample
    from mtl_perception.evaluation.evaluate import ImageScores, Predicted
    from mtl_perception.labels import LabelSet

DatasetSpec = Annotated[
    str,
    typer.Argument(
        help="KIND:PATH?option=value, e.g. rgbd:FOLDER?frames=0-798; or several with ' + '."
    ),
]


LABELS, DEPTH, NETWORK = "Labels", "Depth", "Network"


def evaluate(
    model: Annotated[str, typer.Argument(help="Network: a name of `models list`, or a file.")],
    dataset: DatasetSpec,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.")],
    classes: Annotated[
        str, flag("True classes that count: names, or a label set that maps to them.", LABELS)
    ] = "",
    depth_crop: Annotated[str | None, flag("none, nyu, eigen, garg.", DEPTH, "none")] = None,
    min_depth: Annotated[float | None, flag("Nearest truth, metres.", DEPTH, "0.001")] = None,
    max_depth: Annotated[float | None, flag("Farthest truth, metres.", DEPTH, "10.0")] = None,
    median_scaling: Annotated[
        bool, flag("Fit each image's depth to the truth by its median.", DEPTH)
    ] = False,
    device: Annotated[str | None, flag("auto, cpu, cuda.", NETWORK, "auto")] = None,
    runtime: Annotated[str | None, flag("auto, or which to use.", NETWORK, "auto")] = None,
    precision: Annotated[
        str | None, flag("auto, or what the runtime has.", NETWORK, "auto")
    ] = None,
    threads: Annotated[int | None, flag("Threads; 0 = all.", NETWORK, "2")] = None,
    temperature: Annotated[float | None, flag("Scores are divided by it.", NETWORK, "1.0")] = None,
    worst: Annotated[int, typer.Option(help="Images to show for labels and for depth.")] = 6,
    as_json: Json = False,
) -> None:
    """Judge a network on images with truth; write JSON, an HTML report and pictures."""
    from rich.progress import Progress

    from mtl_perception.data.open_dataset import open_dataset
    from mtl_perception.evaluation.depth import DepthConfig
    from mtl_perception.evaluation.evaluate import EvaluationConfig, evaluate_model
    from mtl_perception.evaluation.report import HTML_FILE, write_report
    from mtl_perception.evaluation.worst import WorstImages
    from mtl_perception.models import checksum, find_model
    from mtl_perception.predictor import Predictor, PredictorConfig

    depth = DepthConfig(
        median_scaling=median_scaling,
        **given(depth_crop=depth_crop, min_depth=min_depth, max_depth=max_depth),
    )
    images = open_dataset(dataset)
    ids = _class_ids(classes, images.label_set)
    config = PredictorConfig(
        model=model,
        label_set=images.label_set.name if images.label_set else "",
        **given(
            device=device,
            runtime=runtime,
            precision=precision,
            threads=threads,
            temperature=temperature,
        ),
    )
    predictor, failures = Predictor(config), WorstImages(worst)
    with Progress(transient=True) as bar:
        task = bar.add_task("judging", total=len(images))

        def watch(sample: "Sample", predicted: "Predicted", scores: "ImageScores") -> None:
            failures.add(sample, predicted, scores)
            bar.advance(task)

        result = evaluate_model(
            lambda sample: predictor(sample.color, sample.intrinsics.fx),
            images,
            EvaluationConfig(depth, ids),
            watch,
        )
    path = find_model(model)
    facts = {
        "network": path.name,
        "sha256": checksum(path),
        "run by": f"{predictor.runtime}, {predictor.device}, {predictor.precision}",
        "data set": dataset,
        "true classes that count": classes or "all",
    }
    if result.depth:
        facts |= {name.replace("_", " "): str(value) for name, value in vars(depth).items()}
    write_report(out, result, failures, images.label_set, facts)
    typer.echo(result.to_json() if as_json else f"{result.table()}\nreport: {out / HTML_FILE}")


def calibrate(
    model: Annotated[str, typer.Argument(help="Network: a name of `models list`, or a file.")],
    dataset: DatasetSpec,
    classes: Annotated[
        str, flag("True classes that count: names, or a label set that maps to them.")
    ] = "",
    threads: Annotated[int | None, flag("Threads; 0 = all.", default="2")] = None,
) -> None:
    """Find the temperature at which a network's confidence is most honest."""
    from rich.progress import track

    from mtl_perception.data.open_dataset import open_dataset
    from mtl_perception.evaluation.calibration import CalibrationMetrics
    from mtl_perception.evaluation.evaluate import EvaluationConfig, evaluate_model
    from mtl_perception.evaluation.temperature import TRIES, fit_temperature
    from mtl_perception.predictor import Predictor, PredictorConfig

    images = open_dataset(dataset)
    how = EvaluationConfig(classes=_class_ids(classes, images.label_set))
    label_set = images.label_set.name if images.label_set else ""
    tries = iter(track(range(TRIES), "calibrating"))

    def judge(temperature: float) -> "CalibrationMetrics | None":
        next(tries)
        config = PredictorConfig(
            model=model, label_set=label_set, temperature=temperature, **given(threads=threads)
        )
        predictor = Predictor(config)
        return evaluate_model(lambda s: predictor(s.color), images, how).calibration

    fits = fit_temperature(judge)
    next(tries, None)  # ends the bar
    for fit in sorted(fits, key=lambda fit: fit.temperature):
        m = fit.metrics
        typer.echo(f"{fit.temperature:7.3f}  log loss {m.log_loss:.4f}  ECE {m.ece:.4f}")
    typer.echo(f"best: temperature {fits[0].temperature:.2f}, on top of what the file has")


def _class_ids(text: str, label_set: "LabelSet | None") -> tuple[int, ...]:
    """Return the ids of class names, or of the classes that another label set knows."""
    from mtl_perception.conventions import UNLABELLED, InvalidInput
    from mtl_perception.labels import LABEL_SETS, remap_table

    if not text:
        return ()
    if label_set is None:
        raise InvalidInput(f"classes {text!r}, but the data set has no labels")
    if text in LABEL_SETS:
        return tuple(sorted({*remap_table(LABEL_SETS[text], label_set).tolist()} - {UNLABELLED}))
    return tuple(sorted(label_set.id_of(name.strip()) for name in text.split(",")))


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


COMMANDS = {"evaluate": evaluate, "calibrate": calibrate, "pseudo-label": pseudo_label}
