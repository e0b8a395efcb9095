# SPDX-License-Identifier: Apache-2.0
import csv

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


def test_long_runs_keep_all_counts_in_bounded_memory(monkeypatch):
    monkeypatch.setattr(ledger_module, "KEPT_ROWS", 100)
    ledger = Ledger()
    for stamp in range(1000):
        ledger.record(stamp, Outcome.FUSED)
    assert ledger.fused == 1000 and len(ledger.rows) <= 100
    assert ledger.rows[-1].stamp_ns == 999
