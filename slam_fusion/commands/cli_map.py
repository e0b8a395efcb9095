# SPDX-License-Identifier: Apache-2.0
"""Commands on recordings and maps: ``map``, ``view``."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mtl_perception.conventions import UNLABELLED
from slam_fusion.commands import cli_options as flags
from slam_fusion.commands.cli_options import given
from slam_fusion.labelling import LabelSource

if TYPE_CHECKING:
    from slam_fusion.output.export import Summary
    from slam_fusion.recordings.recording import Recording

EXIT_EMPTY_MAP = 1
EXIT_INTERRUPTED = 130


def map_command(
    source: flags.Source,
    out: flags.Out,
    labels: Annotated[LabelSource, flags.flag("Labels to fuse.", flags.LABELS)] = LabelSource.AUTO,
    model: flags.Model = None,
    threads: flags.Threads = None,
    label_set: flags.LabelSetName = None,
    voxel_size: flags.VoxelSize = None,
    min_depth: flags.MinDepth = None,
    max_depth: flags.MaxDepth = None,
    depth_source: flags.DepthSourceName = None,
    depth_from_motion: flags.DepthFromMotion = None,
    edge_rejection: flags.EdgeRejection = None,
    weigh_pixels: flags.WeighPixels = None,
    carve_free_space: flags.CarveFreeSpace = None,
    class_policies: flags.ClassPolicies = None,
    max_integration_rate_hz: flags.MaxRate = None,
    memory_limit_mb: flags.MemoryLimit = None,
    disk_limit_mb: flags.DiskLimit = None,
    device: flags.FusionDevice = None,
    global_frame: flags.GlobalFrame = None,
    camera_frame: flags.CameraFrame = None,
    depth_topic: flags.DepthTopic = None,
    color_topic: flags.ColorTopic = None,
    labels_topic: flags.LabelsTopic = None,
    confidence_topic: flags.ConfidenceTopic = None,
    camera_info_topic: flags.CameraInfoTopic = None,
    pose_topic: flags.PoseTopic = None,
    trajectory: flags.TrajectoryFile = None,
    intrinsics: flags.IntrinsicsText = None,
    approx_sync_s: flags.ApproxSync = None,
    start_s: flags.Start = None,
    duration_s: flags.Duration = None,
    fps: flags.Fps = None,
    depth_scale: flags.DepthScale = None,
    depth_format: flags.DepthFormat = None,
    as_json: flags.Json = False,
) -> None:
    """Map a recording: a folder with map, mesh, cloud, trajectory, pictures and a summary."""
    from mtl_perception.labels import load_label_set
    from slam_fusion.commands.interrupt import stop_on_signal
    from slam_fusion.mapper import Mapper, MapperConfig
    from slam_fusion.offline import map_recording
    from slam_fusion.output.export import prepare_folder
    from slam_fusion.recordings.recording import RecordingOptions, open_recording

    prepare_folder(out)
    config = MapperConfig(
        **given(
            voxel_size=voxel_size,
            min_depth=min_depth,
            max_depth=max_depth,
            depth_source=depth_source,
            depth_from_motion=depth_from_motion,
            edge_rejection=edge_rejection,
            weigh_pixels=weigh_pixels,
            carve_free_space=carve_free_space,
            class_policies=tuple(class_policies) if class_policies else None,
            max_integration_rate_hz=max_integration_rate_hz,
            memory_limit_mb=memory_limit_mb,
            disk_limit_mb=disk_limit_mb,
            device=device,
            global_frame=global_frame,
            camera_frame=camera_frame,
        )
    )
    options = RecordingOptions(
        **given(
            depth_topic=depth_topic,
            color_topic=color_topic,
            labels_topic=labels_topic,
            confidence_topic=confidence_topic,
            camera_info_topic=camera_info_topic,
            pose_topic=pose_topic,
            trajectory=trajectory,
            global_frame=global_frame,
            camera_frame=camera_frame,
            intrinsics=intrinsics,
            approx_sync_s=approx_sync_s,
            start_s=start_s,
            duration_s=duration_s,
            fps=fps,
            depth_scale=depth_scale,
            depth_format=depth_format,
        )
    )
    with open_recording(source, options) as recording:
        mapper = Mapper(config, load_label_set(label_set) if label_set else None)
        predictor = None
        if _needs_network(labels, recording, label_set) or config.depth_source != "sensor":
            from mtl_perception.predictor import Predictor, PredictorConfig

            predictor = Predictor(PredictorConfig(**given(model=model, threads=threads)))
        with (
            _progress_bar(recording.frame_count, quiet=as_json) as bar,
            stop_on_signal("stopping: saving what is mapped so far") as stop,
        ):
            summary = map_recording(recording, mapper, predictor, out, labels, bar, stop)
    if as_json:
        typer.echo(json.dumps(asdict(summary)))
    else:
        _tell(summary, out)
    if summary.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if summary.fused == 0:
        raise typer.Exit(EXIT_EMPTY_MAP)


def view(
    map_file: Annotated[Path, typer.Argument(help="A map.npz, or the folder that holds one.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the PNG files.")
    ] = None,
    pose: Annotated[
        Path | None, typer.Option(help="Look from here: a 4x4 T_world_camera as text.")
    ] = None,
    up: Annotated[str | None, typer.Option(help="Up direction x,y,z; estimated if not.")] = None,
) -> None:
    """Draw pictures of a map in true and class colours; opens no window."""
    import numpy as np

    from mtl_perception.conventions import InvalidInput
    from slam_fusion.output.export import MAP_FILE, prepare_folder
    from slam_fusion.output.map_io import open_map
    from slam_fusion.output.render import render_views
    from slam_fusion.trajectory import load_pose
    from slam_fusion.volume import SemanticVolume

    if map_file.is_dir():
        map_file = map_file / MAP_FILE
    out = out or map_file.parent / "pictures"
    prepare_folder(out)
    direction = None
    if up is not None:
        try:
            direction = np.array([float(word) for word in up.split(",")])
        except ValueError:
            raise InvalidInput(f"--up {up!r}: want three numbers x,y,z") from None
        if direction.shape != (3,) or not 0 < np.linalg.norm(direction) < np.inf:
            raise InvalidInput(f"--up {up!r}: want three numbers x,y,z, not all zero")
        direction /= np.linalg.norm(direction)
    with open_map(map_file) as saved:
        mesh = SemanticVolume.from_state(saved.state).extract_mesh()
    poses = {"pose": load_pose(pose)} if pose else None
    for path in render_views(out, mesh, saved.label_set, saved.T_world_camera, direction, poses):
        typer.echo(path)


COMMANDS = {"map": map_command, "view": view}


@contextmanager
def _progress_bar(total: int | None, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr; yield what tells it the count of frames."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = [*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as bar:
        task = bar.add_task("mapping", total=total)
        yield lambda count: bar.update(task, completed=count)


def _needs_network(labels: LabelSource, recording: "Recording", label_set: str | None) -> bool:
    if labels is LabelSource.AUTO:
        return recording.label_set is None and not label_set
    return labels is LabelSource.NETWORK


def _tell(summary: "Summary", out: Path) -> None:
    total = sum(summary.frames.values())
    typer.echo(
        f"{summary.fused} of {total} frames fused in {summary.seconds:.1f} s "
        f"({summary.frames_per_second:.1f} frames/s): {summary.surface_m2:.1f} m2 of surface"
    )
    for outcome, count in summary.frames.items():
        if outcome != "fused":
            typer.echo(f"  {count} {outcome}")
    for share in summary.classes[:8]:
        if share.id != UNLABELLED:
            typer.echo(f"  {share.name:<16} {share.area_m2:8.2f} m2  {100 * share.share:5.1f} %")
    if summary.fused == 0:
        typer.echo(f"nothing was fused: {out / 'ledger.csv'} says why, frame by frame", err=True)
    elif summary.in_parts:
        typer.echo(f"larger than memory_limit_mb: no pictures; open {out / 'mesh.ply'}")
    else:
        typer.echo(
            f"look at {out / 'pictures'}; open {out / 'mesh.ply'} in MeshLab or CloudCompare"
        )
