# SPDX-License-Identifier: Apache-2.0
"""Commands on networks: ``models list``, ``download``, ``verify``, ``export``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from slam_fusion.commands.cli_options import Json

app = typer.Typer(help="Networks: list, download, verify, export.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A name of `models list`.")]


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
