# SPDX-License-Identifier: Apache-2.0
"""What a run came to, as one page: figures, curves, pictures of held-out images."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

import cv2

from mtl_perception.atomic_file import atomic_file
from mtl_perception.data.sample import Dataset, Sample
from mtl_perception.evaluation.charts import curve_chart
from mtl_perception.evaluation.evaluate import Predicted
from mtl_perception.evaluation.pictures import beside, pictures
from mtl_perception.training.run_state import RunState

HTML_FILE, PICTURES = "report.html", "pictures"

SHOWN = 6
"""Held-out images with pictures, evenly spread over their data set."""

_STYLE = "body{font:15px sans-serif;margin:2em;max-width:90em} img{max-width:100%}"


def write_report(
    folder: Path, state: RunState, config_yaml: str, predictions: Sequence[tuple[str, Mapping]] = ()
) -> None:
    """Write ``report.html``.

    Args:
        folder: of the run.
        state: what was done.
        config_yaml: what the run is.
        predictions: name of a sample, and files of its pictures by task; see ``write_pictures``.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        f"<title>{escape(folder.name)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(folder.name)}: {state.step} steps</h1>",
        f"<p>{state.seconds / 60:.1f} minutes in {state.starts} start(s); {len(state.bad_steps)} "
        "steps were not finite and changed nothing.</p>",
        *[f"<p>Step {b['step']}: {escape(str(b['why']))}</p>" for b in state.bad_steps],
        "<h2>Held out</h2>",
        _charts(state.judged),
        "<h2>Training</h2>",
        _charts(state.curves),
    ]
    for name, files in predictions:
        parts.append(f"<h3>{escape(name)}: truth, prediction, error</h3>")
        parts += [f'<p><img src="{PICTURES}/{f}" alt="{t}"></p>' for t, f in files.items()]
    parts += ["<h2>Configuration</h2>", f"<pre>{escape(config_yaml)}</pre></html>"]
    with atomic_file(folder / HTML_FILE) as file:
        file.write("\n".join(parts).encode())


def _charts(rows: Sequence[Mapping[str, float]]) -> str:
    """Return a chart for each measure, with its last value in the title."""
    charts = []
    for name in dict.fromkeys(key for row in rows for key in row if key != "step"):
        known = [(row["step"], row[name]) for row in rows if name in row]
        xs, ys = [x for x, _ in known], [y for _, y in known]
        charts.append(curve_chart(xs, ys, f"{name} (last {ys[-1]:.4g})", "steps"))
    return "\n".join(charts) or "<p>nothing yet</p>"


def write_pictures(
    folder: Path, dataset: Dataset, predict: Callable[[Sample], Predicted]
) -> list[tuple[str, dict[str, str]]]:
    """Write pictures of a few samples; return names and files for ``write_report``.

    Args:
        folder: of the run.
        dataset: where from.
        predict: of ``validation.predictor_of``.
    """
    (folder / PICTURES).mkdir(exist_ok=True)
    told = []
    for number in range(0, len(dataset), -(-len(dataset) // SHOWN)):
        sample = dataset[number]
        predicted = predict(sample)
        files = {}
        for task, row in pictures(sample, predicted, dataset.label_set).items():
            files[task] = f"{number:05d}-{task}.png"
            image = cv2.cvtColor(beside(row), cv2.COLOR_RGB2BGR)
            with atomic_file(folder / PICTURES / files[task]) as file:
                file.write(cv2.imencode(".png", image)[1].tobytes())
        told.append((sample.name, files))
    return told
