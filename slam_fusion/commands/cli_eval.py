# SPDX-License-Identifier: Apache-2.0
"""Commands that compare maps with the truth: ``eval``, ``eval-masks``."""

from pathlib import Path
from typing import Annotated

import typer

from slam_fusion.commands.cli_options import Json


def eval_command(
    map_file: Annotated[Path, typer.Argument(help="A map.npz, or the folder that holds one.")],
    truth: Annotated[Path, typer.Argument(help="Labelled mesh as this package writes: .ply.")],
    as_json: Json = False,
) -> None:
    """Compare a map with a true, labelled surface in the same frame and label set."""
    from slam_fusion.evaluation.evaluate import Truth, evaluate_map
    from slam_fusion.output.export import MAP_FILE
    from slam_fusion.output.map_io import load_map
    from slam_fusion.output.ply import read_ply
    from slam_fusion.volume import SemanticVolume

    saved = load_map(map_file / MAP_FILE if map_file.is_dir() else map_file)
    surface = SemanticVolume.from_state(saved.state).extract_mesh()
    true = read_ply(truth)
    report = evaluate_map(
        surface,
        Truth(true.positions, true.triangles, true.positions, true.labels),
        saved.label_set.names if saved.label_set else {},
    )
    typer.echo(report.to_json() if as_json else report.table())


def eval_masks(
    folder: Annotated[Path, typer.Argument(help="RGB-D frames with .segm.png masks and poses.")],
    voxel_size: Annotated[float, typer.Option(help="Edge of a voxel, metres.")] = 0.005,
    held_out: Annotated[int, typer.Option(help="Frame to leave out of the map; -1 = last.")] = -1,
    as_json: Json = False,
) -> None:
    """Fuse masked frames but one; compare the map, seen again from each camera, with the masks."""
    from slam_fusion.evaluation.evaluate_masks import evaluate_masks

    report = evaluate_masks(folder, voxel_size, held_out)
    typer.echo(report.to_json() if as_json else report.table())


COMMANDS = {"eval": eval_command, "eval-masks": eval_masks}
