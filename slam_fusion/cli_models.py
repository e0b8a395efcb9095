# SPDX-License-Identifier: Apache-2.0
"""Commands on networks: ``models list``, ``models download``, ``models verify``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from slam_fusion.cli_options import Json

app = typer.Typer(help="Networks: list, download, verify.", no_args_is_help=True)

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
