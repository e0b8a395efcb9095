# SPDX-License-Identifier: Apache-2.0
import csv
import errno

import pytest

from slam_fusion import ledger as ledger_module
from slam_fusion.ledger import Ledger, Outcome


def test_every_frame_is_counted_once_and_written(tmp_path):
    ledger = Ledger()
    ledger.record(1, Outcome.FUSED)
    ledger.record(2, Outcome.POSE_NEVER, 'no path from "odom", see /tf')
    ledger.record(3, Outcome.FUSED)
    assert (ledger.total, ledger.fused) == (3, 2)
    assert ledger.counts() == {"fused": 2, "pose_never": 1}
    path = tmp_path / "ledger.csv"
    ledger.write_csv(path)
    rows = list(csv.DictReader(path.open()))
    assert [r["stamp_ns"] for r in rows] == ["1", "2", "3"]
    assert rows[1]["detail"] == 'no path from "odom", see /tf'
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_leaves_the_old_file_and_no_part_of_the_new(tmp_path, monkeypatch):
    path = tmp_path / "ledger.csv"
    path.write_text("old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space.*ledger.csv"):
        Ledger().write_csv(path)
    assert [p.name for p in tmp_path.iterdir()] == ["ledger.csv"] and path.read_text() == "old"


def test_a_name_that_is_not_utf8_is_written_escaped(tmp_path):
    ledger = Ledger()
    ledger.record(1, Outcome.BAD_IMAGE, "frame-\udcff.png")
    ledger.write_csv(tmp_path / "ledger.csv")
    assert "frame-\\udcff.png" in (tmp_path / "ledger.csv").read_text()


def test_long_runs_keep_all_counts_in_bounded_memory(monkeypatch):
    monkeypatch.setattr(ledger_module, "KEPT_ROWS", 100)
    ledger = Ledger()
    for stamp in range(1000):
        ledger.record(stamp, Outcome.FUSED)
    assert ledger.fused == 1000 and len(ledger.rows) <= 100
    assert ledger.rows[-1].stamp_ns == 999
