# SPDX-License-Identifier: Apache-2.0
"""The command that makes synthetic rooms: ``rooms``."""

from typing import Annotated

import typer

from slam_fusion.commands.cli_options import Out


def rooms(
    out: Out,
    count: Annotated[int, typer.Option("--rooms", help="How many rooms.")] = 100,
    frames: Annotated[int, typer.Option(help="Views of each room.")] = 36,
    seed: Annotated[int, typer.Option(help="Of the first room; the next has the next.")] = 1000,
    kind: Annotated[str, typer.Option(help="Of every room, as kitchen; empty = all kinds.")] = "",
    processes: Annotated[int, typer.Option(help="Rooms made at once; 0 = one a core.")] = 0,
) -> None:
    """Make training samples of synthetic rooms; go on where a run was stopped."""
    import os

    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    from mtl_perception.synthetic.room_set import RoomSet, make_room_set

    wanted = RoomSet(rooms=count, frames=frames, seed=seed, kind=kind)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("rooms", total=count)
        index = make_room_set(
            out, wanted, processes or os.cpu_count() or 1, lambda _: bar.advance(task)
        )
    size = sum(shard.size for shard in index.shards)
    views = sum(len(shard.samples) for shard in index.shards)
    typer.echo(f"{out}: {len(index.shards)} rooms, {views} samples, {size / 2**20:.0f} MiB")


COMMANDS = {"rooms": rooms}
