# SPDX-License-Identifier: Apache-2.0
"""Labels of an expert for images that have none, made once and offline, as if they were true.

Nekrasov et al. 2018 (arXiv 1809.04766), "asymmetric annotations": hard labels, no soft targets.
A folder holds ``labels/NAME.png`` (uint8 class ids, 255 = the expert was not sure) and
``index.jsonl``: a first line about the expert, then a line per sample with the sha256 of its file.
The index is written line by line, so work that was killed goes on where it stopped.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from mtl_perception.atomic_file import atomic_file
from mtl_perception.conventions import UNLABELLED, InvalidInput
from mtl_perception.data.files import check_size, read_gray, require_folder
from mtl_perception.data.sample import DataCorrupt, DataMissing, Dataset, Sample, check_labels
from mtl_perception.data.text_files import read_text
from mtl_perception.labels import LabelSet

INDEX_FILE = "index.jsonl"
FORMAT, VERSION = "dense-semantic-slam pseudo-labels", 1


@dataclass(frozen=True)
class Expert:
    """Who labelled, and how; a folder never mixes two of them."""

    model: str  # file name of the network
    sha256: str  # of that file
    label_set: LabelSet  # of the stored labels
    confidence_threshold: float  # pixels less certain than this are 255


@dataclass(frozen=True)
class LabelledFile:
    """One line of the index."""

    name: str  # of the sample
    sha256: str  # of its PNG
    labelled: float  # share of the pixels that have a label


def write_pseudo_labels(
    dataset: Dataset,
    predict: Callable[[int, Sample], np.ndarray],
    expert: Expert,
    folder: Path,
    progress: Callable[[LabelledFile], bool] = lambda _: True,
) -> int:
    """Label every sample of a data set that ``folder`` does not hold yet.

    Args:
        dataset: images to label.
        predict: number of the sample, and the sample -> (H, W) uint8 class ids of
            ``expert.label_set``.
        expert: what ``predict`` is; stored with the labels.
        folder: made if need be. Finished labels in it are checked against their sha256, and made
            again where file or line did not survive.
        progress: told about every sample, old or new; False stops.

    Returns:
        How many samples were labelled now.

    Raises:
        InvalidInput: ``folder`` holds labels of another expert, or two samples share a name.
        DataCorrupt: the index is not one, or ``predict`` gave ids that the set does not have.
        OSError: the disk is full or not writable.
    """
    (folder / "labels").mkdir(parents=True, exist_ok=True)
    done = _resume(folder, expert)
    count = 0
    seen: set[str] = set()
    with (folder / INDEX_FILE).open("ab") as index:
        for i in range(len(dataset)):
            sample = dataset[i]
            if sample.name in seen:
                raise InvalidInput(f"{dataset.name}: two samples are called {sample.name!r}")
            seen.add(sample.name)
            line = done.get(sample.name)
            if line is None:
                labels = check_size(predict(i, sample), sample.intrinsics.shape, sample.name)
                check_labels(labels, expert.label_set, f"{expert.model} on {sample.name}")
                line = _store(folder, sample.name, labels, index)
                count += 1
            if not progress(line):
                break
    return count


class WithPseudoLabels:
    """A data set whose samples have the labels of a folder in place of their own."""

    def __init__(self, dataset: Dataset, folder: Path) -> None:
        """Join; ``folder`` must hold labels for every sample that is read later.

        Raises:
            DataMissing: no folder, no index, or fewer labels than samples.
            DataCorrupt: the index is wrong; names the line.
        """
        require_folder(folder, f"labels/ and {INDEX_FILE}, as pseudo-label writes them")
        self._dataset, self._folder = dataset, folder
        self.expert, lines = read_index(folder / INDEX_FILE)
        self._lines = {line.name: line for line in lines}
        if len(self._lines) < len(dataset):
            raise DataMissing(
                f"{folder} labels {len(self._lines)} of the {len(dataset)} samples of "
                f"{dataset.name}: run pseudo-label once more, it goes on where it stopped"
            )
        self.name = f"{dataset.name} with labels of {self.expert.model}"
        self.label_set: LabelSet | None = self.expert.label_set

    def __len__(self) -> int:
        """Return the count of samples."""
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        """Read a sample.

        Raises:
            DataMissing, DataCorrupt: naming the file; also when its sha256 is another.
            IndexError: no such sample.
        """
        sample = self._dataset[index]
        line = self._lines.get(sample.name)
        if line is None:
            raise DataMissing(f"{self._folder} has no labels for sample {sample.name!r}")
        path = label_file(self._folder, line.name)
        if _sha256(path) != line.sha256:
            raise DataCorrupt(f"{path}: its sha256 is not the one of the index")
        labels = check_size(read_gray(path, np.uint8), sample.intrinsics.shape, path)
        check_labels(labels, self.expert.label_set, str(path))
        return replace(sample, labels=labels)


def label_file(folder: Path, name: str) -> Path:
    """Return where the labels of sample ``name`` lie, always inside ``folder``.

    Raises:
        DataCorrupt: a name that would lead elsewhere.
    """
    if not name or not name.isprintable() or "\\" in name or {"", ".", ".."} & {*name.split("/")}:
        raise DataCorrupt(f"{folder}: {name!r} is not a name for a file")
    return folder / "labels" / f"{name}.png"


def read_index(path: Path) -> tuple[Expert, list[LabelledFile]]:
    """Read an index; a last line that a killed writer left half is passed over.

    Raises:
        DataMissing, DataCorrupt: naming the file and line.
    """
    whole, _, _half = read_text(path).rpartition("\n")
    rows = [_json(text, f"{path}, line {i}") for i, text in enumerate(whole.splitlines(), 1)]
    if not rows or rows[0].get("format") != FORMAT or rows[0].get("version") != VERSION:
        raise DataCorrupt(f"{path}: its first line is not that of {FORMAT}, version {VERSION}")
    try:
        head = rows[0]["expert"]
        expert = Expert(
            str(head["model"]),
            str(head["sha256"]),
            LabelSet.from_json(json.dumps(head["label_set"])),
            float(head["confidence_threshold"]),
        )
        lines = [LabelledFile(**row) for row in rows[1:]]
    except (InvalidInput, KeyError, TypeError, ValueError) as error:
        raise DataCorrupt(f"{path}: {error}") from None
    for i, line in enumerate(lines, 2):
        kinds = (type(line.name), type(line.sha256), type(line.labelled))
        if kinds != (str, str, float):
            raise DataCorrupt(f"{path}, line {i}: want {[f.name for f in fields(LabelledFile)]}")
    return expert, lines


def _resume(folder: Path, expert: Expert) -> dict[str, LabelledFile]:
    """Return the finished samples by name, and leave an index of exactly those."""
    path = folder / INDEX_FILE
    done: dict[str, LabelledFile] = {}
    if path.exists() and b"\n" in path.read_bytes():
        other, lines = read_index(path)
        if other != expert:
            raise InvalidInput(
                f"{folder} holds labels of {_said(other)}, not of {_said(expert)}: choose another "
                "folder"
            )
        for line in lines:
            file = label_file(folder, line.name)
            if file.is_file() and _sha256(file) == line.sha256:
                done[line.name] = line
    head = asdict(replace(expert)) | {"label_set": json.loads(expert.label_set.to_json())}
    with atomic_file(path) as index:
        _append(index, {"format": FORMAT, "version": VERSION, "expert": head})
        for line in done.values():
            _append(index, asdict(line))
    return done


def _store(folder: Path, name: str, labels: np.ndarray, index: BinaryIO) -> LabelledFile:
    """Write the PNG, then its line: a line without its file never comes to be."""
    path = label_file(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    png = cv2.imencode(".png", labels)[1].tobytes()
    with atomic_file(path) as file:
        file.write(png)
    line = LabelledFile(name, hashlib.sha256(png).hexdigest(), float((labels != UNLABELLED).mean()))
    _append(index, asdict(line))
    index.flush()
    return line


def _append(index: BinaryIO, row: dict[str, Any]) -> None:
    index.write(json.dumps(row).encode() + b"\n")


def _said(expert: Expert) -> str:
    return (
        f"{expert.model} ({expert.sha256[:12]}, {expert.label_set.name}, "
        f"threshold {expert.confidence_threshold})"
    )


def _json(text: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except (RecursionError, ValueError):
        raise DataCorrupt(f"{where}: not JSON") from None
    if not isinstance(row, dict):
        raise DataCorrupt(f"{where}: not a JSON object")
    return row


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataMissing(f"{path}: {error.strerror}") from None
