# SPDX-License-Identifier: Apache-2.0
"""Commands around mapping: ``demo``, ``to-bag``, ``doctor``, ``bench``."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mtl_perception.conventions import DenseSlamError
from slam_fusion.commands import cli_options as flags
from slam_fusion.commands.cli_options import given

ROOT = Path(__file__).resolve().parents[2]
"""Of the source tree, when the package runs from one."""


def demo(
    out: flags.Out = Path("out/demo"),
    bag: Annotated[
        Path | None, typer.Option(help="Map this recording in place of the synthetic room.")
    ] = None,
    model: Annotated[
        str | None,
        flags.flag("Network; '' fuses the recorded labels.", default="rooms-kitchen"),
    ] = None,
) -> None:
    """Map a synthetic room through the real nodes and compare the map with the truth."""
    from slam_fusion.demo.main import run_demo

    run_demo(out, bag, **flags.given(model=model))


def bench() -> None:
    """Time the fusion against Open3D's on the same frames (in a checkout of the source)."""
    if not (ROOT / "benchmarks" / "__main__.py").is_file():
        raise DenseSlamError("the benchmarks are not installed: run `make bench` in a source tree")
    done = subprocess.run([sys.executable, "-m", "benchmarks"], cwd=ROOT, check=False)
    raise typer.Exit(done.returncode)


def to_bag(
    source: flags.Source,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new rosbag2.")],
    storage: Annotated[str, typer.Option(help="mcap or sqlite3.")] = "mcap",
    compression: Annotated[str, typer.Option(help="none, file, message, storage.")] = "none",
    overwrite: Annotated[bool, typer.Option(help="Replace a bag of this name.")] = False,
    label_set: flags.LabelSetName = None,
    trajectory: flags.TrajectoryFile = None,
    intrinsics: flags.IntrinsicsText = None,
    start_s: flags.Start = None,
    duration_s: flags.Duration = None,
    fps: flags.Fps = None,
    depth_scale: flags.DepthScale = None,
    depth_format: flags.DepthFormat = None,
) -> None:
    """Write a folder of RGB-D images with poses as a rosbag2 (images, CameraInfo, TF)."""
    from mtl_perception.labels import load_label_set
    from slam_fusion.recordings.bag_write import write_bag
    from slam_fusion.recordings.recording import RecordingOptions, open_recording

    options = RecordingOptions(
        **given(
            trajectory=trajectory,
            intrinsics=intrinsics,
            start_s=start_s,
            duration_s=duration_s,
            fps=fps,
            depth_scale=depth_scale,
            depth_format=depth_format,
        )
    )
    with open_recording(source, options) as recording:
        count = write_bag(
            out,
            recording,
            storage=storage,
            compression=compression,
            label_set=load_label_set(label_set) if label_set else None,
            overwrite=overwrite,
        )
        for stamp_ns, outcome, detail in recording.problems:
            typer.echo(f"left out: {stamp_ns} {outcome.value} {detail}", err=True)
    typer.echo(f"{count} frames in {out}; map it with: dense-semantic-slam map {out} -o MAP")


def doctor(as_json: flags.Json = False) -> None:
    """Check what this machine can do, and say how to mend what it cannot."""
    from slam_fusion.commands.doctor import examine

    checks = examine()
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks]))
    else:
        for check in checks:
            mark = "ok  " if check.ok else "FAIL" if check.needed else "lack"
            typer.echo(f"{mark}  {check.name}: {check.found}")
            if check.remedy:
                typer.echo(f"      -> {check.remedy}")
    if not all(check.ok or not check.needed for check in checks):
        raise typer.Exit(1)


COMMANDS = {"demo": demo, "to-bag": to_bag, "doctor": doctor, "bench": bench}
