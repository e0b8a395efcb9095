# SPDX-License-Identifier: Apache-2.0
"""Commands that compare maps with the truth: ``eval``, ``eval-masks``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slam_fusion.commands import cli_options as options
from slam_fusion.commands.cli_options import Json, given

if TYPE_CHECKING:
    from slam_fusion.evaluation.evaluate import MapReport
    from slam_fusion.evaluation.reprojection import ReprojectionReport
    from slam_fusion.frame import Surface
    from slam_fusion.output.map_format import SavedMap


def eval_command(
    map_file: Annotated[Path, typer.Argument(help="A map.npz, or the folder that holds one.")],
    truth: Annotated[
        Path,
        typer.Argument(
            help="Labelled mesh as this package writes: .ply. Or a recording: the map is seen "
            "again from its frames, but for those that are in the map."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for evaluation.json and, of a mesh, errors.png."),
    ] = None,
    as_json: Json = False,
    depth_topic: options.DepthTopic = None,
    color_topic: options.ColorTopic = None,
    labels_topic: options.LabelsTopic = None,
    camera_info_topic: options.CameraInfoTopic = None,
    pose_topic: options.PoseTopic = None,
    trajectory: options.TrajectoryFile = None,
    global_frame: options.GlobalFrame = None,
    camera_frame: options.CameraFrame = None,
    intrinsics: options.IntrinsicsText = None,
    approx_sync_s: options.ApproxSync = None,
    start_s: options.Start = None,
    duration_s: options.Duration = None,
    fps: options.Fps = None,
    depth_scale: options.DepthScale = None,
    depth_format: options.DepthFormat = None,
    label_set: options.LabelSetName = None,
) -> None:
    """Compare a map with the true surface in the same frame, or with frames it never got."""
    from mtl_perception.labels import load_label_set
    from slam_fusion.evaluation.reprojection import evaluate_held_out
    from slam_fusion.output.export import MAP_FILE, prepare_folder
    from slam_fusion.output.map_io import open_map
    from slam_fusion.recordings.bag_files import is_bag
    from slam_fusion.recordings.recording import RecordingOptions, open_recording
    from slam_fusion.volume import SemanticVolume

    if out:
        prepare_folder(out)
    with open_map(map_file / MAP_FILE if map_file.is_dir() else map_file) as saved:
        surface = SemanticVolume.from_state(saved.state).extract_mesh()
    report: MapReport | ReprojectionReport
    if truth.is_dir() or is_bag(truth):
        recording_options = RecordingOptions(
            **given(
                depth_topic=depth_topic,
                color_topic=color_topic,
                labels_topic=labels_topic,
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
        meaning = load_label_set(label_set) if label_set else None
        with open_recording(truth, recording_options) as recording:
            report = evaluate_held_out(surface, saved, recording, meaning)
    else:
        report = _against_mesh(surface, saved, truth, out)
    if out:
        (out / "evaluation.json").write_text(report.to_json() + "\n")
    typer.echo(report.to_json() if as_json else report.table())


def _against_mesh(
    surface: "Surface", saved: "SavedMap", truth: Path, out: Path | None
) -> "MapReport":
    from slam_fusion.evaluation.error_picture import draw_errors
    from slam_fusion.evaluation.evaluate import map_errors, report, truth_of_mesh
    from slam_fusion.output.ply import read_ply
    from slam_fusion.output.render import write_png

    true = read_ply(truth)
    points = truth_of_mesh(true)
    errors = map_errors(surface, points)
    if out:
        write_png(
            out / "errors.png", draw_errors(surface, true, points, errors, saved.T_world_camera)
        )
    return report(errors, points.seen_labels, saved.label_set.names if saved.label_set else {})


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
