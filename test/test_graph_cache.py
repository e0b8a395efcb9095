# SPDX-License-Identifier: Apache-2.0
"""Graphs that took long to make are kept, as long as they are what their network's file says."""

import logging
import os
from pathlib import Path

import pytest

from mtl_perception.inference import graph_cache
from mtl_perception.inference.graph_cache import graph_folder, kept_graph


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "dense_semantic_slam" / "graphs"


def network(folder: Path, content: bytes) -> Path:
    """A file with a name of its own: what is known of a file is not asked again of that name."""
    path = folder / f"{content.decode()}.safetensors"
    path.write_bytes(content)
    return path


def never() -> bytes:
    raise AssertionError("made although it is kept")


def test_a_graph_is_made_once_for_each_content(tmp_path: Path, own_cache: Path) -> None:
    assert graph_folder() == own_cache
    one, other = network(tmp_path, b"one"), network(tmp_path, b"other")
    assert kept_graph(one, lambda: b"graph of one") == b"graph of one"
    assert kept_graph(other, lambda: b"graph of other") == b"graph of other"
    assert kept_graph(one, never) == b"graph of one"
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(b"one")
    assert kept_graph(copy, never) == b"graph of one"
    assert sorted(file.suffix for file in own_cache.iterdir()) == [".onnx", ".onnx"]


def test_another_version_of_the_code_makes_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = network(tmp_path, b"one")
    kept_graph(file, lambda: b"old")
    monkeypatch.setattr(graph_cache, "_sources", lambda: "f" * 64)
    assert kept_graph(file, lambda: b"new") == b"new"


@pytest.mark.parametrize("damage", [b"", b"\0" * 40, b"graph"])
def test_a_damaged_graph_is_made_anew(tmp_path: Path, own_cache: Path, damage: bytes) -> None:
    file = network(tmp_path, b"one")
    kept_graph(file, lambda: b"graph")
    (kept,) = own_cache.iterdir()
    kept.write_bytes(damage)
    assert kept_graph(file, lambda: b"graph") == b"graph"
    assert kept_graph(file, never) == b"graph"


def test_the_graphs_used_last_stay(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_cache, "MAX_FILES", 2)
    files = [network(tmp_path, name) for name in (b"a", b"b", b"c")]
    for i, file in enumerate(files[:2]):
        before = set(own_cache.glob("*"))
        kept_graph(file, file.read_bytes)
        (new,) = set(own_cache.glob("*")) - before
        os.utime(new, (i, i))
    kept_graph(files[0], never)  # now b is the one that was not used for longest
    kept_graph(files[2], files[2].read_bytes)
    assert len(list(own_cache.iterdir())) == 2
    kept_graph(files[0], never)
    assert kept_graph(files[1], lambda: b"made again") == b"made again"
    monkeypatch.setattr(graph_cache, "MAX_BYTES", 40)
    kept_graph(network(tmp_path, b"d"), lambda: b"wide" * 20)
    (left,) = own_cache.iterdir()  # the newest stays, whatever its size
    assert left.stat().st_size == 32 + 80


def test_a_folder_that_cannot_be_written_costs_only_time(
    tmp_path: Path, own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own_cache.parent.mkdir(parents=True)
    own_cache.write_bytes(b"a file where the folder should be")
    with caplog.at_level(logging.WARNING, logger=graph_cache.__name__):
        assert kept_graph(network(tmp_path, b"one"), lambda: b"graph") == b"graph"
    assert "cannot be kept" in caplog.text
