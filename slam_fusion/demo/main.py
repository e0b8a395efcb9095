# SPDX-License-Identifier: Apache-2.0
"""The main job, end to end: a room becomes a recording, the nodes map it, the truth judges it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mtl_perception.atomic_file import atomic_file
from mtl_perception.predictor import Predictor, PredictorConfig
from slam_fusion.demo.nodes import Mapping, map_through_nodes, require_ros
from slam_fusion.demo.report import TITLES, DemoReport, judge_images, judge_map
from slam_fusion.demo.room import RoomWalk, make_recording
from slam_fusion.mapper import Mapper, MapperConfig
from slam_fusion.offline import map_recording
from slam_fusion.output.export import Summary, prepare_folder
from slam_fusion.output.render import render_views, write_png
from slam_fusion.recordings.recording import open_recording
from slam_fusion.volume import SemanticVolume

VOXEL_SIZE = 0.03
"""Of maps of a sensor's depth, metres."""

NETWORK_VOXEL_SIZE, NETWORK_TRUNCATION_VOXELS = 0.05, 8.0
"""Of maps of a network's depth, which is less exact: finer voxels would hold its noise."""


def run_demo(
    out: Path,
    bag: Path | None = None,
    scene: RoomWalk | None = None,
    model: str = PredictorConfig.model,
) -> None:
    """Map a synthetic room through the nodes and judge the map, or map a recording offline.

    Prints what is done, the figures, and where to look.

    Args:
        out: folder of the results, made if need be.
        bag: recording to map instead of the room.
        scene: another room or walk than the usual one.
        model: network that labels the images; "" fuses the labels that are recorded instead,
            which are the true ones in the synthetic room.

    Raises:
        DenseSlamError: what is missing or failed, in words.
    """
    if bag is not None:
        summary = map_bag(bag, out, model)
        print(
            f"Mapped {summary.fused} frames of {bag} in {summary.seconds:.1f} s "
            f"({summary.frames_per_second:.1f} frames/s). Look at {out / 'pictures'}; open "
            f"{out / 'mesh.ply'}."
        )
        return
    prepare_folder(out)
    require_ros()
    report = demonstrate(out, scene or RoomWalk(), model)
    print(report.table())
    print(f"Look at {out / '*' / 'pictures'}; open {out / '*' / 'mesh.ply'}.")


def mappings(model: str, gives_depth: bool) -> dict[str, Mapping]:
    """Return the maps that are made, by the name of their folder: with and without a sensor."""
    wanted = {"rgbd": Mapping(VOXEL_SIZE, model=model)}
    if gives_depth:
        wanted["rgb"] = Mapping(NETWORK_VOXEL_SIZE, "network", NETWORK_TRUNCATION_VOXELS, model)
    return wanted


def demonstrate(out: Path, scene: RoomWalk, model: str) -> DemoReport:
    """Record a synthetic room, map the recording through the nodes, judge the maps.

    Leaves in ``out``: the recording, evaluation.json, and for each way of mapping a folder with
    map, mesh, ledger, logs and pictures.
    """
    predictor = Predictor(PredictorConfig(model=model)) if model else None
    with _step("making the room"):
        scene.poses  # noqa: B018  makes the room and the walk
    with _step(f"recording {scene.frames} frames as {out / 'recording'}"):
        recording = make_recording(out / "recording", scene)
    images = None
    if predictor is not None:
        with _step("judging single images"):
            images = judge_images(scene, predictor)
    maps = {}
    for name, wanted in mappings(model, predictor is not None and predictor.gives_depth).items():
        folder = out / name
        prepare_folder(folder)
        seconds = scene.frames / scene.rate_hz
        with _step(f"playing them through the nodes, {TITLES[name]} ({seconds:.0f} s or more)"):
            saved = map_through_nodes(recording, scene.frames, folder, wanted)
        with _step("comparing the map with the truth"):
            maps[name], comparison = judge_map(scene, saved, predictor)
        with _step("drawing"):
            pictures = folder / "pictures"
            pictures.mkdir(exist_ok=True)
            mesh = SemanticVolume.from_state(saved.state).extract_mesh()
            render_views(pictures, mesh, saved.label_set, saved.T_world_camera)
            write_png(pictures / "compare.png", comparison)
    report = DemoReport(model, images, maps)
    with atomic_file(out / "evaluation.json") as file:
        file.write(report.to_json().encode() + b"\n")
    return report


def map_bag(bag: Path, out: Path, model: str = PredictorConfig.model) -> Summary:
    """Map a recording offline, with its own labels if it tells their meaning, else a network's."""
    with open_recording(bag) as recording:
        predictor = None
        if recording.label_set:
            print(f"The recording's own labels ({recording.label_set.name}) are fused.")
        elif model:
            predictor = Predictor(PredictorConfig(model=model))
        else:
            print("The recording does not say what labels it has: the map will have none.")
        with _step(f"mapping {recording.describe()}"):
            mapper = Mapper(MapperConfig(voxel_size=VOXEL_SIZE))
            return map_recording(recording, mapper, predictor, out)


@contextmanager
def _step(what: str) -> Iterator[None]:
    """Print what is being done, and how long it took."""
    started = time.perf_counter()
    print(f"{what} ...", end=" ", flush=True)
    try:
        yield
    finally:
        print(f"{time.perf_counter() - started:.1f} s", flush=True)
