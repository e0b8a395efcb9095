# SPDX-License-Identifier: Apache-2.0
"""Scans of ScanNet (Dai et al. 2017), exported to folders by its own tools.

``color/N.jpg``, ``depth/N.png`` (millimetres), ``intrinsic/intrinsic_color.txt`` (4x4),
``label-filt/N.png`` (16 bits, raw ids) and ``scannetv2-labels.combined.tsv``, which says what the
ids are in NYU40.
"""

import csv
import re
from pathlib import Path

import cv2
import numpy as np

from mtl_perception.conventions import UNLABELLED
from mtl_perception.data.files import (
    read_color,
    read_depth,
    read_ids,
    require_files,
    require_folder,
)
from mtl_perception.data.sample import DataCorrupt, DataMissing, Sample
from mtl_perception.data.text_files import intrinsics_of, read_matrix, read_text
from mtl_perception.labels import LABEL_SETS, LabelSet

TABLE_FILE = "scannetv2-labels.combined.tsv"


class ScannetFolder:
    """Every frame of one scan, brought to the size of its depth images.

    The colour camera has four times the pixels; its depth images are registered to it.
    """

    def __init__(self, path: Path, table: Path | None = None) -> None:
        """Find the frames and check that their files are there.

        Args:
            path: folder of the scan.
            table: ``scannetv2-labels.combined.tsv``; None = beside the scan or in its folder. It
                is only needed where the scan has ``label-filt``.

        Raises:
            DataMissing: a folder, an image or the table.
            DataCorrupt: the table or the camera file is wrong.
        """
        require_folder(path / "color", "N.jpg, exported by ScanNet's SensReader")
        self._path = path
        self.name = path.name
        names = [f.stem for f in (path / "color").glob("*.jpg") if re.fullmatch(r"\d+", f.stem)]
        self._names = sorted(names, key=int)
        if not self._names:
            raise DataMissing(f"{path / 'color'}: no N.jpg")
        self._K = read_matrix(path / "intrinsic" / "intrinsic_color.txt", 4, 4)
        wanted = [path / "depth" / f"{name}.png" for name in self._names]
        self.label_set: LabelSet | None = None
        if (path / "label-filt").is_dir():
            self.label_set = LABEL_SETS["nyu40"]
            self._ids = nyu40_table(table or _beside(path))
            wanted += [path / "label-filt" / f"{name}.png" for name in self._names]
        require_files(wanted, str(path))

    def __len__(self) -> int:
        """Return the count of samples."""
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        """Read a frame.

        Raises:
            DataMissing, DataCorrupt: naming the file.
            IndexError: no such sample.
        """
        name = self._names[index]
        color = read_color(self._path / "color" / f"{name}.jpg")
        depth = read_depth(self._path / "depth" / f"{name}.png", 1000, 65535)
        height, width = depth.shape
        labels = None
        if self.label_set:
            labels = read_ids(self._path / "label-filt" / f"{name}.png", self._ids)
            labels = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        # Pixel centres lie at integers, so that image edges are at -0.5.
        zoom = np.array([width / color.shape[1], height / color.shape[0]])
        K = self._K.copy()
        K[[0, 1], [0, 1]] *= zoom
        K[:2, 2] = (K[:2, 2] + 0.5) * zoom - 0.5
        return Sample(
            name,
            cv2.resize(color, (width, height), interpolation=cv2.INTER_AREA),
            intrinsics_of(K, (height, width), self._path),
            depth,
            labels,
        )


def nyu40_table(path: Path) -> np.ndarray:
    """Return the class of each raw id: (N,) int16; 255 for id 0 and ids without class, -1 for none.

    Raises:
        DataMissing, DataCorrupt: naming the file and the line.
    """
    reader = csv.DictReader(read_text(path).splitlines(), delimiter="\t")
    if not {"id", "nyu40id"} <= set(reader.fieldnames or []):
        raise DataCorrupt(f"{path}: no columns id and nyu40id")
    table = np.full(65536, -1, np.int16)
    table[0] = UNLABELLED
    for row in reader:
        raw, nyu40 = row["id"] or "", row["nyu40id"] or "0"
        if not raw.isdecimal() or not nyu40.isdecimal() or int(raw) > 65535 or int(nyu40) > 40:
            raise DataCorrupt(f"{path}, line {reader.line_num}: id {raw!r}, nyu40id {nyu40!r}")
        table[int(raw)] = int(nyu40) - 1 if int(nyu40) else UNLABELLED
    return table


def _beside(path: Path) -> Path:
    inside = path / TABLE_FILE
    return inside if inside.exists() else path.parent / TABLE_FILE
