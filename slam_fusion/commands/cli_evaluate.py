# SPDX-License-Identifier: Apache-2.0
"""Commands that judge a network on images with truth: ``evaluate``, ``calibrate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slam_fusion.commands.cli_options import Json, flag, given

if TYPE_CHECKING:
    from mtl_perception.data.sample import Sample
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
    worst: Annotated[int, typer.Option(help="Images to show for each task.")] = 6,
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


COMMANDS = {"evaluate": evaluate, "calibrate": calibrate}
