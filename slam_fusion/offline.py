# SPDX-License-Identifier: Apache-2.0
"""A recording in, a map folder out, with the same Mapper as the node and no ROS."""

import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from mtl_perception.predictor import Predictor
from slam_fusion.labelling import Labeller, LabelSource
from slam_fusion.mapper import Mapper
from slam_fusion.output.export import Summary, export_folder, prepare_folder
from slam_fusion.recordings.recording import Recording

Progress = Callable[[int], None]
"""Called after every frame with the count of frames read so far."""


def map_recording(
    recording: Recording,
    mapper: Mapper,
    predictor: Predictor | None,
    out: Path,
    labels: LabelSource = LabelSource.AUTO,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Map a recording and write the map folder; the same input gives the same map hash.

    Args:
        recording: open recording; read once, in bounded memory.
        mapper: empty; its ``label_set`` is filled in where it is None.
        predictor: network for frames that need labels; None fuses only recorded ones.
        out: folder of the results, made if need be; checked before the work starts.
        labels: which labels to fuse.
        progress: told about every frame.
        stop: when set, reading stops and what is mapped so far is saved.

    Raises:
        OutputFolderError: ``out`` cannot be written.
        InvalidInput: labels are wanted that neither the recording nor a network gives.
        BadRecording: the recording breaks off in a way that cannot be passed over.
    """
    prepare_folder(out)
    labeller = Labeller(labels, recording, mapper, predictor)
    started = perf_counter()
    frames = recording.frames()
    count = 0
    while not (stop and stop.is_set()):
        with mapper.times.stage("read"):
            frame = next(frames, None)
        _record_problems(recording, mapper)
        if frame is None:
            break
        mapper.add(labeller(frame))
        mapper.integrate_ready(recording.poses)
        count += 1
        if progress:
            progress(count)
    mapper.finish()
    return export_folder(
        out,
        mapper,
        source=recording.describe(),
        seconds=perf_counter() - started,
        interrupted=bool(stop and stop.is_set()),
    )


def _record_problems(recording: Recording, mapper: Mapper) -> None:
    """Move what could not become a frame to the ledger, so that it is counted once."""
    for stamp_ns, outcome, detail in recording.problems:
        mapper.ledger.record(stamp_ns, outcome, detail)
    recording.problems.clear()
