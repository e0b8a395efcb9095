# SPDX-License-Identifier: Apache-2.0
"""The command that makes synthetic rooms: ``rooms``."""

import os
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slam_fusion.commands.cli_options import Out, flag, given

if TYPE_CHECKING:
    from mtl_perception.synthetic.room_set import RoomSet


class Format(str, Enum):
    """What is made of each room."""

    shards = "shards"
    bag = "bag"


def rooms(
    out: Out,
    count: Annotated[
        int | None, typer.Option("--rooms", help="How many rooms.", show_default="100")
    ] = None,
    frames: Annotated[int | None, flag("Views of each room.", default="36")] = None,
    seed: Annotated[
        int | None, flag("Of the first room; the next has the next.", default="1000")
    ] = None,
    kind: Annotated[
        str | None, flag("Of every room: kitchen, flat, ...", default="drawn, no flats")
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="Training samples, or walks with the true surface.")
    ] = Format.shards,
    neighbours: Annotated[
        bool, typer.Option("--neighbours", help="Also the moments before and after, in colour.")
    ] = False,
    imported: Annotated[
        bool, typer.Option("--imported", help="Also furniture of sweethome3d-furniture.")
    ] = False,
    processes: Annotated[int, typer.Option(help="Rooms made at once; 0 = one a core.")] = 0,
) -> None:
    """Make synthetic rooms for training or mapping; go on where a run was stopped."""
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    from mtl_perception.conventions import InvalidInput
    from mtl_perception.synthetic.room_set import RoomSet

    options = given(rooms=count, frames=frames, seed=seed, kind=kind)
    wanted = RoomSet(**options, neighbours=neighbours, imported=imported)
    if form is Format.bag and (neighbours or imported):
        raise InvalidInput("--neighbours and --imported are for --format shards")
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("rooms", total=wanted.rooms)
        make = _shards if form is Format.shards else _recordings
        done = make(out, wanted, processes or os.cpu_count() or 1, lambda: bar.advance(task))
    typer.echo(done)


def _shards(out: Path, wanted: "RoomSet", processes: int, advance: Callable[[], None]) -> str:
    from mtl_perception.synthetic.room_set import make_room_set

    index = make_room_set(out, wanted, processes, lambda _: advance())
    size = sum(shard.size for shard in index.shards)
    views = sum(len(shard.samples) for shard in index.shards)
    return f"{out}: {len(index.shards)} rooms, {views} samples, {size / 2**20:.0f} MiB"


def _recordings(out: Path, wanted: "RoomSet", _processes: int, advance: Callable[[], None]) -> str:
    from slam_fusion.demo.room import RoomWalk, make_recording
    from slam_fusion.demo.truth_file import write_truth

    out.mkdir(parents=True, exist_ok=True)
    for seed in range(wanted.seed, wanted.seed + wanted.rooms):
        truth = out / f"room-{seed:012d}.truth.ply"
        if not truth.exists():  # written last: the room is complete
            scene = RoomWalk(seed, wanted.frames, kind=wanted.kind)
            make_recording(out / f"room-{seed:012d}", scene)
            write_truth(truth, scene)
        advance()
    return f"{out}: {wanted.rooms} recordings of {wanted.frames} frames, each with its truth.ply"


COMMANDS = {"rooms": rooms}
