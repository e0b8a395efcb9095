# SPDX-License-Identifier: Apache-2.0
"""KITTI: raw images with annotated depth by a list (Eigen's split), and the 200 labelled images."""

import re
from pathlib import Path

import numpy as np

from mtl_perception.conventions import Intrinsics
from mtl_perception.data.cityscapes import id_table_of_cityscapes
from mtl_perception.data.files import require_folder
from mtl_perception.data.image_files import (
    ImageFiles,
    OneCamera,
    Reading,
    SampleFiles,
    camera_matrix,
)
from mtl_perception.data.sample import DataCorrupt, DataMissing, Dataset
from mtl_perception.data.text_files import intrinsics_of, read_text
from mtl_perception.labels import LABEL_SETS

DEPTH_UNITS = 256.0
"""Of the annotated depth maps, per metre; 0 = unknown."""

CALIBRATION = "calib_cam_to_cam.txt"
CAMERA_OF_SIDE = {"l": "02", "r": "03"}

_LINE = re.compile(r"(\d{4}_\d\d_\d\d)/(\1_drive_\d{4}_sync)\s+(\d+)\s+([lr])")
_EIGEN_LINE = re.compile(
    r"(\d{4}_\d\d_\d\d)/(\1_drive_\d{4}_sync)/image_(0[23])/data/(\d{10})\.(?:png|jpg)(?:\s.*)?"
)

SEMANTICS_CAMERA = OneCamera(
    camera_matrix(721.5377, 721.5377, 609.5593, 172.854), "KITTI's camera of 2011_09_26"
)


def open_kitti_depth(
    path: Path, split_list: Path, depth: Path | None = None, leave_out_missing: bool = False
) -> Dataset:
    """Open the images of a list with their annotated depth.

    Args:
        path: folder of the raw data: ``DATE/DATE_drive_NNNN_sync/image_02/data/*.png`` or .jpg and
            ``DATE/calib_cam_to_cam.txt``.
        split_list: text file, a line per image: ``DATE/DRIVE FRAME l|r`` (monodepth2's form of
            Eigen's split), or the image's path.
        depth: folder of the annotated depth: ``train|val/DRIVE/proj_depth/groundtruth/image_02``;
            None = ``path``.
        leave_out_missing: leave out, and count in ``left_out``, images that have no annotated
            depth; 45 of Eigen's 697 have none.

    Raises:
        DataMissing: files are missing; their count and the first names.
        DataCorrupt: a line that is of neither form, or a calibration without the camera.
    """
    require_folder(path, "KITTI's raw data, DATE/DATE_drive_NNNN_sync/image_02/data")
    rows, left_out = [], 0
    for number, line in enumerate(read_text(split_list).splitlines(), 1):
        if not line.strip():
            continue
        date, drive, camera, frame = _parsed(line.strip(), f"{split_list}, line {number}")
        truth = _annotation(depth or path, drive, camera, frame)
        if leave_out_missing and not truth.exists():
            left_out += 1
            continue
        folder = path / date / drive / f"image_{camera}" / "data"
        jpeg = folder / f"{frame}.jpg"
        rows.append(
            SampleFiles(
                f"{drive}/{camera}/{frame}",
                jpeg if jpeg.exists() else folder / f"{frame}.png",
                truth,
                camera=path / date / CALIBRATION,
            )
        )
    name = f"KITTI {split_list.stem}"
    return ImageFiles(name, rows, Reading(_calibrated, DEPTH_UNITS), left_out)


def open_kitti_semantics(path: Path, camera: np.ndarray | None = None) -> Dataset:
    """Open the labelled images: ``image_2/*.png`` with ``semantic/*.png`` (Cityscapes' label ids).

    Args:
        path: the folder ``training``, or the one that holds it.
        camera: (3, 3) K; None = the camera of most of them, for the release has no calibration.

    Raises:
        DataMissing: files are missing; their count and the first names.
    """
    folder = path / "training" if (path / "training").is_dir() else path
    require_folder(folder / "image_2", "*_10.png, KITTI's labelled images")
    rows = [
        SampleFiles(image.stem, image, labels=folder / "semantic" / image.name)
        for image in sorted((folder / "image_2").glob("*.png"))
    ]
    reading = Reading(
        SEMANTICS_CAMERA if camera is None else OneCamera(camera, "the given camera"),
        label_set=LABEL_SETS["cityscapes19"],
        id_table=id_table_of_cityscapes(),
    )
    return ImageFiles("KITTI semantics", rows, reading)


def _parsed(line: str, where: str) -> tuple[str, str, str, str]:
    """Return date, drive, camera ("02") and frame (ten digits) of a line of a list."""
    if match := _LINE.fullmatch(line):
        return match[1], match[2], CAMERA_OF_SIDE[match[4]], match[3].zfill(10)
    if match := _EIGEN_LINE.fullmatch(line):
        return match[1], match[2], match[3], match[4]
    raise DataCorrupt(f"{where}: {line[:80]!r} is not DATE/DRIVE FRAME l|r, nor an image's path")


def _annotation(depth: Path, drive: str, camera: str, frame: str) -> Path:
    """Return the depth file; a drive is either in train or in val."""
    inner = Path(drive, "proj_depth", "groundtruth", f"image_{camera}", f"{frame}.png")
    in_val = depth / "val" / inner
    return in_val if in_val.parent.is_dir() else depth / "train" / inner


def _calibrated(files: SampleFiles, shape: tuple[int, int]) -> Intrinsics:
    """Return the camera of a raw image from its day's calibration."""
    if files.camera is None:
        raise DataMissing(f"{files.name}: no calibration")
    key = f"P_rect_{files.name.split('/')[1]}:"
    for line in read_text(files.camera).splitlines():
        if line.startswith(key):
            try:
                numbers = [float(word) for word in line[len(key) :].split()]
            except ValueError:
                numbers = []
            if len(numbers) == 12:
                return intrinsics_of(np.reshape(numbers, (3, 4)), shape, files.camera)
            raise DataCorrupt(f"{files.camera}: {key} is not followed by 12 numbers")
    raise DataCorrupt(f"{files.camera}: no line {key}")
