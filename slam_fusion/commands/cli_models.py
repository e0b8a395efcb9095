# SPDX-License-Identifier: Apache-2.0
"""Commands on networks: ``models list``, ``download``, ``export``, ``quantise`` and more."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from slam_fusion.commands.cli_options import Json, flag, given

app = typer.Typer(
    help="Networks: list, download, verify, export, quantise, compare.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="A name of `models list`.")]
Images = Annotated[
    str,
    typer.Argument(
        help="Images: KIND:PATH?option=value, e.g. rgbd:FOLDER?every=20; several with ' + '."
    ),
]


@app.command("list")
def list_command(as_json: Json = False) -> None:
    """List the known networks, and where each is found."""
    from mtl_perception.models import ModelCorrupt, ModelMissing, find_model, list_models

    rows = []
    for entry in list_models():
        where, problem = "", ""
        try:
            where = str(find_model(entry.name))
        except ModelMissing:
            problem = f"not here; models download {entry.name}"
        except ModelCorrupt as error:
            problem = str(error)
        rows.append({**asdict(entry), "found": where, "problem": problem})
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        typer.echo(f"{row['name']}  {row['size_bytes'] / 2**20:.1f} MiB  {row['licence']}")
        typer.echo(f"    {row['description']}")
        if row["terms"]:
            typer.echo(f"    {row['terms']}")
        typer.echo(f"    {row['found'] or row['problem']}")


@app.command()
def download(
    name: Name,
    folder: Annotated[Path | None, typer.Option(help="Where to put it.")] = None,
) -> None:
    """Fetch a network and check its sha256."""
    from rich.progress import DownloadColumn, Progress, TextColumn

    from mtl_perception.download import download as fetch

    with Progress(TextColumn(name), *Progress.get_default_columns()[1:], DownloadColumn()) as bar:
        task = bar.add_task(name)
        path = fetch(
            name, folder, lambda done, total: bar.update(task, completed=done, total=total)
        )
    typer.echo(path)


@app.command()
def verify(name: Name) -> None:
    """Check size and sha256 of a network that is here."""
    from mtl_perception.models import find_model

    typer.echo(f"{find_model(name)}: right size and sha256")


@app.command()
def export(
    weights: Annotated[Path, typer.Argument(help="Our .safetensors, or published weights.")],
    output: Annotated[Path, typer.Argument(help="What to write: .onnx or .safetensors.")],
    network: Annotated[
        str, typer.Option(help="For published weights: the network that they are of.")
    ] = "",
    label_set: Annotated[
        list[str] | None,
        typer.Option(help="Meaning of the channels, where the network does not say it."),
    ] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read files that can run any code.")
    ] = False,
) -> None:
    """Write a network as a file that the predictor runs."""
    from mtl_perception.inference.runtimes import require_modules

    require_modules("models export", "torch", "safetensors", "onnx", "onnxscript")
    from mtl_perception.labels import load_label_set
    from mtl_perception.networks.convert import read_network, write_network

    label_sets = [load_label_set(name) for name in label_set or []]
    stored, report = read_network(weights, network, label_sets, allow_pickle)
    write_network(output, stored)
    typer.echo(f"{output}: {output.stat().st_size / 2**20:.1f} MiB; {report}")


@app.command()
def quantise(
    model: Annotated[str, typer.Argument(help="Network: a name of `models list`, or a file.")],
    images: Images,
    output: Annotated[Path, typer.Option("--out", "-o", help="What to write: .onnx.")],
    count: Annotated[
        int, typer.Option(min=1, max=1000, help="Images to take, evenly spread over all.")
    ] = 32,
) -> None:
    """Write a network in 8-bit numbers, their ranges found on images of its kind of scenes."""
    from mtl_perception.inference.runtimes import require_modules

    require_modules("models quantise", "onnx", "onnxruntime")
    from mtl_perception.data.open_dataset import open_dataset
    from mtl_perception.inference.quantise import Calibration, quantise
    from mtl_perception.models import find_model

    calibration = Calibration(open_dataset(images), count)
    path = find_model(model)
    quantise(path, calibration, output)
    before, after = (file.stat().st_size / 2**20 for file in (path, output))
    typer.echo(
        f"{output}: {after:.1f} MiB from {before:.1f}, by {len(calibration)} images; "
        "`models compare` says what it costs"
    )


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="Network: a name of `models list`, or a file.")],
    second: Annotated[str, typer.Argument(help="Another, or the same to be run otherwise.")],
    images: Images,
    precision: Annotated[
        str | None, flag("Of the first: auto, or what its runtime has.", default="auto")
    ] = None,
    second_precision: Annotated[str | None, flag("Of the second.", default="auto")] = None,
    runtime: Annotated[str | None, flag("Of both: auto, or which to use.", default="auto")] = None,
    threads: Annotated[int | None, flag("Threads; 0 = all.", default="2")] = None,
    as_json: Json = False,
) -> None:
    """Run two networks on the same images: how far they differ, and which the truth prefers."""
    from mtl_perception.data.open_dataset import open_dataset
    from mtl_perception.data.sample import Sample
    from mtl_perception.evaluation.agreement import compare
    from mtl_perception.prediction import Prediction
    from mtl_perception.predictor import Predictor, PredictorConfig

    dataset = open_dataset(images)
    label_set = dataset.label_set.name if dataset.label_set else ""
    shared = given(runtime=runtime, threads=threads)

    def load(model: str, wanted: str | None) -> Predictor:
        config = PredictorConfig(
            model=model, label_set=label_set, **given(precision=wanted), **shared
        )
        return Predictor(config)

    def run(predictor: Predictor, sample: Sample) -> Prediction:
        return predictor(sample.color, sample.intrinsics.fx)

    a, b = load(first, precision), load(second, second_precision)
    result = compare(partial(run, a), partial(run, b), dataset)
    if as_json:
        typer.echo(result.to_json())
        return
    for model, p in ((first, a), (second, b)):
        typer.echo(f"{model}: {p.runtime} on {p.device} in {p.precision}")
    typer.echo(result.table())
