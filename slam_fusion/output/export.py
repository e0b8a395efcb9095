# SPDX-License-Identifier: Apache-2.0
"""The map folder: map file, PLY exports, trajectory, ledger, pictures, summary."""

import json
import platform
import tempfile
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from mtl_perception.atomic_file import atomic_file
from mtl_perception.conventions import DenseSlamError
from slam_fusion.mapper import Mapper
from slam_fusion.objects import find_objects
from slam_fusion.output import legend
from slam_fusion.output.map_io import save_map, snapshot
from slam_fusion.output.ply import write_ply
from slam_fusion.output.render import render_views
from slam_fusion.output.viewpoints import estimate_up
from slam_fusion.trajectory import Trajectory

MAP_FILE = "map.npz"
SURFACE_FILES = ("mesh.ply", "cloud.ply")
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
    files = [out / name for name in (MAP_FILE, *SURFACE_FILES, "trajectory.txt", "ledger.csv")]
    with times.stage("save map"):
        save_map(out / MAP_FILE, snapshot(mapper, provenance))
    with times.stage("extract mesh"):
        mesh = mapper.volume.extract_mesh()
    with times.stage("extract cloud"):
        cloud = mapper.volume.extract_cloud()
    with times.stage("write ply"):
        for name, surface in zip(SURFACE_FILES, (mesh, cloud), strict=True):
            write_ply(out / name, surface)
    trajectory = Trajectory.from_poses(mapper.poses_by_stamp())
    trajectory.save_tum(out / "trajectory.txt")
    mapper.ledger.write_csv(out / "ledger.csv")
    if mapper.label_set:
        _write_text(out / "legend.json", mapper.label_set.to_json())
        write_ply(out / "mesh_classes.ply", mesh, legend.class_colors(mesh, mapper.label_set))
        up = estimate_up(trajectory.T_world_camera, mesh.normals)
        _write_text(out / "objects.json", find_objects(mesh, mapper.label_set, up).to_json())
        files += [out / name for name in ("legend.json", "mesh_classes.ply", "objects.json")]
    if len(mesh.triangles):
        (out / "pictures").mkdir(exist_ok=True)
        with times.stage("draw"):
            files += render_views(
                out / "pictures", mesh, mapper.label_set, trajectory.T_world_camera
            )

    classes = legend.class_shares(mesh, mapper.label_set)
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
        bytes_per_voxel=mapper.volume.bytes_per_voxel,
        files={p.relative_to(out).as_posix(): p.stat().st_size for p in sorted(files)},
        config=asdict(mapper.config),
        versions=versions,
    )
    _write_text(out / "summary.json", json.dumps(asdict(summary), indent=1))
    return summary


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
