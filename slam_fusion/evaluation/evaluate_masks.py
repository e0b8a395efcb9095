# SPDX-License-Identifier: Apache-2.0
"""Fuse masked RGB-D frames and compare the map, seen again from each camera, with the masks."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mtl_perception.conventions import Intrinsics, InvalidInput
from slam_fusion.evaluation.surface_rays import SurfaceRays
from slam_fusion.frame import Frame, Surface
from slam_fusion.recordings.recording import RecordingOptions, open_recording
from slam_fusion.volume import SemanticVolume, VolumeConfig


@dataclass(frozen=True)
class MaskScore:
    """Agreement of one object in one view."""

    object_id: int
    pixels: int  # of the mask
    iou: float  # of the mask and the map's pixels of that label
    covered: float  # share of the mask's pixels where the map has a surface at all
    iou_covered: float  # IoU over the pixels where the map has a surface


@dataclass(frozen=True)
class MaskView:
    """Agreement in one view."""

    name: str
    held_out: bool  # the frame was not fused
    objects: tuple[MaskScore, ...]


@dataclass(frozen=True)
class MaskReport:
    """Agreement of a fused map with the masks of all views."""

    voxel_size: float  # metres
    fused_frames: int
    views: tuple[MaskView, ...]

    def mean_iou(self, *, held_out: bool, covered: bool = False) -> float:
        """Mean over objects and views of one kind; 0 when there are none."""
        scores = [
            score.iou_covered if covered else score.iou
            for view in self.views
            if view.held_out == held_out
            for score in view.objects
        ]
        return float(np.mean(scores)) if scores else 0.0

    def to_json(self) -> str:
        """Return the report as JSON text."""
        return json.dumps(asdict(self), indent=1)

    def table(self) -> str:
        """Return the report as lines of text for people."""
        lines = [f"{'view':<10}{'object':>7}{'pixels':>8}{'IoU':>8}{'mapped':>8}{'IoU mapped':>12}"]
        for view in self.views:
            lines += [
                f"{view.name:<10}{s.object_id:>7}{s.pixels:>8}{s.iou:>8.3f}{s.covered:>8.3f}"
                f"{s.iou_covered:>12.3f}{'  held out' if view.held_out else ''}"
                for s in view.objects
            ]
        for held_out, kind in ((False, "fused"), (True, "held out")):
            lines.append(
                f"mean IoU of {kind} views {self.mean_iou(held_out=held_out):.3f}, "
                f"where the map has a surface {self.mean_iou(held_out=held_out, covered=True):.3f}"
            )
        return "\n".join(lines)


def evaluate_masks(folder: Path, voxel_size: float = 0.005, held_out: int = -1) -> MaskReport:
    """Fuse all masked frames of a folder but one; compare the map with all masks.

    Args:
        folder: frames with ``.segm.png`` masks, ``.pose.txt`` and bit-rotated depth, as
            github.com/wkentaro/label-fusion has them.
        voxel_size: metres.
        held_out: index of the frame that is not fused; negative counts from the end.

    Raises:
        BadRecording: the folder is not such a recording.
        InvalidInput: a frame has no mask, ``held_out`` names no frame, nothing was fused.
    """
    with open_recording(folder, RecordingOptions(depth_format="label_fusion")) as recording:
        posed = [(f, recording.poses.at(f.stamp_ns, f.camera_frame)) for f in recording.frames()]
        if recording.problems:
            raise InvalidInput(f"{folder}: {recording.problems[0][2]}")
    if not -len(posed) <= held_out < len(posed):
        raise InvalidInput(f"held_out={held_out}, but there are {len(posed)} frames")
    held_out %= len(posed)
    # Nearer than 0.2 m is the arm that carries the camera: it moves with it through the scene.
    volume = SemanticVolume(VolumeConfig(voxel_size=voxel_size, min_depth=0.2, max_depth=2.0))
    for index, (frame, T_world_camera) in enumerate(posed):
        if frame.labels is None:
            raise InvalidInput(f"{folder}: frame {index} has no mask")
        if index != held_out:
            volume.integrate(halved(frame), T_world_camera)
    surface = volume.extract_mesh(min_weight=1)  # there are few frames, with little depth
    rays = SurfaceRays(surface.positions, surface.triangles)
    return MaskReport(
        voxel_size=voxel_size,
        fused_frames=len(posed) - 1,
        views=tuple(
            MaskView(f"{index:06d}", index == held_out, compare_view(surface, rays, frame, T))
            for index, (frame, T) in enumerate(posed)
        ),
    )


def halved(frame: Frame) -> Frame:
    """Return depth and labels at half the size: of each 2 x 2 pixels the nearest that has depth.

    This depth was registered to a colour image of twice its resolution, so three pixels in four
    are empty, and a voxel that looks up one pixel would mostly find nothing.
    """
    height, width = (side // 2 for side in frame.depth.shape)

    def quads(image: np.ndarray) -> np.ndarray:
        blocks = image[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
        return blocks.swapaxes(1, 2).reshape(height, width, 4)

    depth = quads(frame.depth)
    nearest = np.where(depth > 0, depth, np.inf).argmin(axis=2)[..., None]
    camera = frame.intrinsics
    return Frame(
        frame.stamp_ns,
        frame.camera_frame,
        # Pixel centres at integers: the centre of the first 2 x 2 pixels lies at 0.5.
        Intrinsics(
            width,
            height,
            camera.fx / 2,
            camera.fy / 2,
            (camera.cx - 0.5) / 2,
            (camera.cy - 0.5) / 2,
        ),
        np.take_along_axis(depth, nearest, axis=2)[..., 0],
        labels=None
        if frame.labels is None
        else np.take_along_axis(quads(frame.labels), nearest, axis=2)[..., 0],
    )


def compare_view(
    surface: Surface, rays: SurfaceRays, frame: Frame, T_world_camera: np.ndarray
) -> tuple[MaskScore, ...]:
    """Compare a mesh, seen from a frame's camera, with each object (id not 0) of its mask."""
    _, vertex = rays.look(frame.intrinsics, T_world_camera)
    covered = vertex >= 0
    labels = np.where(covered, surface.labels[vertex], 0)
    masks = frame.labels
    assert masks is not None  # the caller checked it
    return tuple(
        MaskScore(
            object_id=int(k),
            pixels=int((masks == k).sum()),
            iou=iou(masks == k, labels == k),
            covered=float(covered[masks == k].mean()),
            iou_covered=iou((masks == k) & covered, labels == k),
        )
        for k in np.unique(masks[(masks != 0)])
    )


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two bool images; 1 when both are empty."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0
