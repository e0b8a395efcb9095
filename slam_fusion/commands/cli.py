# SPDX-License-Identifier: Apache-2.0
"""The command line, ``dense-semantic-slam``. Heavy imports wait until a command needs them."""

import logging
import sys

import typer

from mtl_perception.conventions import DenseSlamError
from slam_fusion.commands import (
    cli_ablate,
    cli_eval,
    cli_evaluate,
    cli_map,
    cli_models,
    cli_nodes,
    cli_pseudo_label,
    cli_rooms,
    cli_tools,
    cli_train,
)

EXIT_USER_ERROR = 2

app = typer.Typer(
    help="Depth and semantic labels of a moving camera become one labelled 3-D map.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (
    cli_map,
    cli_nodes,
    cli_tools,
    cli_eval,
    cli_evaluate,
    cli_pseudo_label,
    cli_rooms,
    cli_train,
    cli_ablate,
):
    for name, command in module.COMMANDS.items():
        app.command(name)(command)
app.add_typer(cli_models.app, name="models")


def main() -> None:
    """Run the command line; an error about the user's input is one line and exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        app()
    except (DenseSlamError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(EXIT_USER_ERROR)


if __name__ == "__main__":
    main()
