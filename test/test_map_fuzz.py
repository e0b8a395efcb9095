# SPDX-License-Identifier: Apache-2.0
"""Map files, damaged or forged in any way: an error with the file's name, or a map that works.

Edits are drawn anew from a fixed seed. ``DENSE_SLAM_FUZZ=20000`` draws so many of each kind.
"""

import copy
import io
import json
import os
import struct
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from test_map_io import fake_map
from test_volume import CAMERA

from slam_fusion.objects import ObjectsConfig, find_objects
from slam_fusion.output.legend import class_colors, class_shares
from slam_fusion.output.map_format import MapFileError
from slam_fusion.output.map_io import open_map, save_map
from slam_fusion.volume import SemanticVolume, VolumeFull

CASES = int(os.environ.get("DENSE_SLAM_FUZZ", "30"))
MIB = 2**20
BOUND = 40 * MIB
"""A map of two blocks, and some megabytes for pieces; a forged file must not take more."""

NUMBERS = (0, -1, 1, 2, 3, 2**31 - 1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e300, float("nan"))
VALUES = (*NUMBERS, float("inf"), True, None, "", "x", "\ud800", [], {}, [1], {"a": 1}, [[[]]])


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """A small map of a real frame, so that its surface can be extracted."""
    path = tmp_path_factory.mktemp("fuzz") / "map.npz"
    saved = fake_map(blocks=2)
    for array in (saved.state.color, saved.state.label, saved.state.evidence):
        array[...] = 0  # a small file, so that edits hit its structure often
    saved.state.weight[...] = 5
    saved.state.tsdf[...] = np.linspace(1, -1, 16, dtype=np.float32)[:, None, None]
    saved.state.evidence[..., 0] = 640
    save_map(path, saved)
    return path.read_bytes()


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip one to eight bits; half of the time in the zip's directory, at the end."""
    changed = bytearray(data)
    first = 0 if rng.random() < 0.5 else max(0, len(data) - 1200)
    for place in rng.integers(first, len(data), rng.integers(1, 9)):
        changed[place] ^= 1 << rng.integers(0, 8)
    return bytes(changed)


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    """Leave out a stretch: the end, the start, or one in between."""
    first, last = np.sort(rng.integers(0, len(data) + 1, 2))
    kind = rng.integers(0, 3)
    return data[:first] if kind == 0 else data[last:] if kind == 1 else data[:first] + data[last:]


def spliced(data: bytes, rng: np.random.Generator) -> bytes:
    """Copy a stretch to another place, or put in noise or numbers of interest."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at, count = int(rng.integers(0, len(data))), int(rng.integers(1, 64))
        kind = rng.integers(0, 3)
        if kind == 0:
            start = int(rng.integers(0, len(data)))
            piece = data[start : start + count]
        elif kind == 1:
            piece = rng.bytes(count)
        else:
            piece = struct.pack("<Q", (0, 1, 2**31, 2**32 - 1, 2**64 - 1)[rng.integers(0, 5)])
        changed[at : at + len(piece)] = piece
    return bytes(changed)


def entries_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(entries: list[tuple[str, bytes]], stored: bool) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        with zipfile.ZipFile(out, "w", 0 if stored else zipfile.ZIP_DEFLATED) as archive:
            for name, content in entries:
                archive.writestr(name, content)
    return out.getvalue()


def header_forged(data: bytes, rng: np.random.Generator) -> bytes:
    """Change, add or drop values anywhere in the header."""
    entries = entries_of(data)
    header = json.loads(entries["header.json"])
    for _ in range(rng.integers(1, 4)):
        place = header
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = keys[rng.integers(0, len(keys))]
            if isinstance(place[key], dict | list) and rng.random() < 0.7:
                place = place[key]
                continue
            if rng.random() < 0.2:
                del place[key]
            else:
                place[key] = copy.deepcopy(VALUES[rng.integers(0, len(VALUES))])
            break
    text = json.dumps(header)
    if rng.random() < 0.1:
        text = text.replace(":", ":" + "[" * int(rng.integers(1, 5000)), 1)
    return zipped([*(entries | {"header.json": text.encode("utf-8", "replace")}).items()], False)


def arrays_forged(data: bytes, rng: np.random.Generator) -> bytes:
    """Change values of arrays, their headers, their lengths, or which there are; sums are right."""
    entries = entries_of(data)
    names = [name for name in entries if name.endswith(".npy")]
    items = list(entries.items())
    for _ in range(rng.integers(1, 3)):
        row = int(rng.integers(0, len(items)))
        name, content = items[row]
        kind = rng.integers(0, 6)
        changed = bytearray(content)
        if kind <= 2 and name in names:  # a value that may be one of interest
            at = int(rng.integers(128, max(129, len(changed) - 8)))
            changed[at : at + 8] = struct.pack("<d", NUMBERS[rng.integers(9, len(NUMBERS))])
        elif kind == 3:
            changed[rng.integers(0, min(128, len(changed)))] ^= 1 << rng.integers(0, 8)
        elif kind == 4:
            changed = changed[: rng.integers(0, len(changed))] + bytes(int(rng.integers(0, 99)))
        else:
            items.append((name if rng.random() < 0.5 else "../" + name, bytes(changed)))
        items[row] = (name, bytes(changed))
    return zipped(items, bool(rng.random() < 0.5))


EDITS = (flipped, cut, spliced, header_forged, arrays_forged)


def use(path) -> None:
    """Do with a map what the commands do, in little memory, so that blocks wait on disk."""
    with open_map(path, memory_limit_mb=1) as saved:
        volume = SemanticVolume.from_state(saved.state)
    mesh = volume.extract_mesh()
    volume.extract_cloud(min_weight=1)
    assert np.isfinite(mesh.positions).all() and np.isfinite(mesh.confidence).all()
    class_shares(mesh, saved.label_set)
    if saved.label_set:
        class_colors(mesh, saved.label_set)
    find_objects(mesh, saved.label_set, np.array([0.0, 0.0, 1.0]), ObjectsConfig(stuff=()))
    volume.render_depth(CAMERA, np.eye(4))
    volume.state_hash()


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_an_edited_file_is_refused_by_name_or_gives_a_map_that_works(tmp_path, whole, edit):
    rng = np.random.default_rng(EDITS.index(edit))
    path = tmp_path / "edited.npz"
    path.write_bytes(whole)
    use(path)
    refused = used = 0
    tracemalloc.start()
    for case in range(CASES):
        path.write_bytes(edit(whole, rng))
        tracemalloc.reset_peak()
        try:
            use(path)
        except MapFileError as error:
            assert str(error).startswith(str(path)), case
            assert len(str(error)) < 1000, case
            refused += 1
        except VolumeFull:  # a limit that the file asks for, said in words
            refused += 1
        else:
            used += 1
        assert tracemalloc.get_traced_memory()[1] < BOUND, case
    tracemalloc.stop()
    assert refused > CASES / 4 and used + refused == CASES
