# SPDX-License-Identifier: Apache-2.0
"""The map folder: map file, PLY exports, trajectory, ledger, pictures, summary."""

import json
import logging
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from mtl_perception.atomic_file import atomic_file
from mtl_perception.conventions import DenseSlamError
from slam_fusion.frame import Surface
from slam_fusion.mapper import Mapper
from slam_fusion.objects import find_objects
from slam_fusion.output import legend
from slam_fusion.output.map_io import save_map, snapshot
from slam_fusion.output.ply import write_ply, write_ply_parts
from slam_fusion.output.render import render_views
from slam_fusion.output.viewpoints import estimate_up
from slam_fusion.trajectory import Trajectory

MAP_FILE = "map.npz"
SURFACE_FILES = ("mesh.ply", "cloud.ply")
CLASSES_FILE = "mesh_classes.ply"
logger = logging.getLogger(__name__)

VERSIONS_OF = ("dense_semantic_slam", "open3d", "numba", "numpy", "ai-edge-litert", "rosbags")


class OutputFolderError(DenseSlamError):
    """The folder for the results cannot be made or written; says why."""


@dataclass(frozen=True)
class Summary:
    """What a mapping run did; ``summary.json``."""

    source: str
    interrupted: bool
    frames: dict[str, int]  # by outcome; see ledger.csv
    seconds: float  # reading, predicting and fusing, without the exports
    frames_per_second: float
    stages: dict[str, dict[str, float]]  # milliseconds, see StageTimes
    surface_m2: float
    classes: tuple[legend.ClassShare, ...]  # largest first
    map_hash: str
    blocks: int
    paged_blocks: int  # of them, on disk
    page_outs: int  # blocks written to disk while mapping and exporting
    page_ins: int  # blocks that came back
    memory_mb: float
    disk_mb: float
    in_parts: bool  # the surface, for blocks were on disk: no objects, no pictures
    bytes_per_voxel: float
    files: dict[str, int]  # bytes by name, of what this run wrote beside the summary
    config: dict[str, Any]
    versions: dict[str, str]

    @property
    def fused(self) -> int:
        """Count of frames in the map."""
        return self.frames.get("fused", 0)


def prepare_folder(out: Path) -> None:
    """Make the folder and try to write in it, before any long work.

    Raises:
        OutputFolderError: with the reason of the system.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise OutputFolderError(f"cannot write in {out}: {error.strerror}") from None


def export_folder(
    out: Path, mapper: Mapper, source: str, seconds: float, interrupted: bool = False
) -> Summary:
    """Write everything that a mapping run leaves behind.

    Where blocks of the map wait on disk, the whole surface would not fit in the memory that the
    map may take: it is written part by part, and there are no objects and no pictures.

    Files: ``map.npz``, ``mesh.ply`` and ``cloud.ply`` in true colours, ``mesh_classes.ply`` in
    class colours, ``objects.json``, ``trajectory.txt`` (TUM, fused frames), ``ledger.csv``,
    ``legend.json``, ``pictures/*.png``, ``summary.json``.

    Args:
        out: existing folder.
        mapper: finished.
        source: what was mapped, in words.
        seconds: wall time of the mapping.
        interrupted: the run was stopped before the end of the recording.

    Raises:
        OSError: the disk is full.
    """
    versions = package_versions()
    provenance = {"source": source, "versions": versions, "config": asdict(mapper.config)}
    times = mapper.times
    files = [out / name for name in (MAP_FILE, "trajectory.txt", "ledger.csv")]
    with times.stage("save map"):
        save_map(out / MAP_FILE, snapshot(mapper, provenance))
    trajectory = Trajectory.from_poses(mapper.poses_by_stamp())
    trajectory.save_tum(out / "trajectory.txt")
    mapper.ledger.write_csv(out / "ledger.csv")
    if mapper.label_set:
        _write_text(out / "legend.json", mapper.label_set.to_json())
        files.append(out / "legend.json")
    in_parts = mapper.volume.paged_count > 0
    if in_parts:
        logger.warning("the surface is larger than memory_limit_mb: no objects, no pictures")
        classes, surface_files = _write_parts(out, mapper)
    else:
        classes, surface_files = _write_whole(out, mapper, trajectory.T_world_camera)
    files += surface_files
    summary = Summary(
        source=source,
        interrupted=interrupted,
        frames=mapper.ledger.counts(),
        seconds=round(seconds, 3),
        frames_per_second=round(mapper.ledger.total / max(seconds, 1e-9), 2),
        stages=times.summary(),
        surface_m2=round(sum(c.area_m2 for c in classes), 4),
        classes=classes,
        map_hash=mapper.volume.state_hash(),
        blocks=mapper.volume.block_count,
        paged_blocks=mapper.volume.paged_count,
        page_outs=mapper.volume.page_outs,
        page_ins=mapper.volume.page_ins,
        memory_mb=round(mapper.volume.memory_bytes / 2**20, 2),
        disk_mb=round(mapper.volume.disk_bytes / 2**20, 2),
        in_parts=in_parts,
        bytes_per_voxel=mapper.volume.bytes_per_voxel,
        files={p.relative_to(out).as_posix(): p.stat().st_size for p in sorted(files)},
        config=asdict(mapper.config),
        versions=versions,
    )
    _write_text(out / "summary.json", json.dumps(asdict(summary), indent=1))
    return summary


def _write_whole(
    out: Path, mapper: Mapper, T_world_camera: np.ndarray
) -> tuple[tuple[legend.ClassShare, ...], list[Path]]:
    """Write mesh, cloud, objects and pictures; return the classes, and the files."""
    times, label_set = mapper.times, mapper.label_set
    with times.stage("extract mesh"):
        mesh = mapper.volume.extract_mesh()
    with times.stage("extract cloud"):
        cloud = mapper.volume.extract_cloud()
    files = [out / name for name in SURFACE_FILES]
    with times.stage("write ply"):
        for path, surface in zip(files, (mesh, cloud), strict=True):
            write_ply(path, surface)
    if label_set:
        write_ply(out / CLASSES_FILE, mesh, legend.class_colors(mesh, label_set))
        up = estimate_up(T_world_camera, mesh.normals)
        _write_text(out / "objects.json", find_objects(mesh, label_set, up).to_json())
        files += [out / CLASSES_FILE, out / "objects.json"]
    if len(mesh.triangles):
        (out / "pictures").mkdir(exist_ok=True)
        with times.stage("draw"):
            files += render_views(out / "pictures", mesh, label_set, T_world_camera)
    return legend.class_shares(mesh, label_set), files


def _write_parts(out: Path, mapper: Mapper) -> tuple[tuple[legend.ClassShare, ...], list[Path]]:
    """Write mesh and cloud in bounded memory; return the classes, and the files."""
    volume, label_set, areas = mapper.volume, mapper.label_set, np.zeros(256)

    def measured(parts: Iterator[Surface]) -> Iterator[Surface]:
        for part in parts:
            areas[:] += legend.class_areas(part)
            yield part

    files = [out / name for name in SURFACE_FILES]
    with mapper.times.stage("extract and write in parts"):
        write_ply_parts(files[0], measured(volume.mesh_parts()))
        write_ply_parts(files[1], volume.cloud_parts())
        if label_set:
            files.append(out / CLASSES_FILE)
            write_ply_parts(
                files[2], volume.mesh_parts(), lambda part: legend.class_colors(part, label_set)
            )
    return legend.shares_of_areas(areas, label_set), files


def package_versions() -> dict[str, str]:
    """Return the versions that shape a map: Python and the packages that are installed."""
    versions = {"python": platform.python_version()}
    for name in VERSIONS_OF:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _write_text(path: Path, text: str) -> None:
    with atomic_file(path) as file:
        file.write(text.encode() + b"\n")
