# SPDX-License-Identifier: Apache-2.0
"""An evaluation as files: JSON for machines, one HTML page that needs nothing else, pictures."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

import cv2
import numpy as np

from mtl_perception.atomic_file import atomic_file
from mtl_perception.evaluation.charts import depth_chart, reliability_chart, sorted_chart
from mtl_perception.evaluation.depth import DepthErrors
from mtl_perception.evaluation.evaluate import Evaluation, ImageScores
from mtl_perception.evaluation.pictures import Picture, beside, pictures
from mtl_perception.evaluation.segmentation import ClassMetrics
from mtl_perception.evaluation.worst import WorstImages
from mtl_perception.labels import LabelSet

JSON_FILE, HTML_FILE, PICTURES = "evaluation.json", "report.html", "pictures"

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; margin: 2em auto; max-width: 72em;
       padding: 0 1em }
h1 { font-size: 1.5em } h2 { font-size: 1.2em; margin-top: 2em }
table { border-collapse: collapse } td, th { padding: .15em .8em; text-align: right }
th { border-bottom: 2px solid #888 } td { border-bottom: 1px solid #e4e6ea }
td:first-child, th:first-child, .facts td, .classes td:last-child { text-align: left }
.swatch { display: inline-block; width: .9em; height: .9em; margin-right: .5em;
          vertical-align: -.1em }
.bar { display: inline-block; height: .7em; background: #2563a8 }
.charts { display: flex; flex-wrap: wrap; gap: 1em }
figure { margin: 1em 0 } figure img { width: 100% }
figcaption { display: flex; color: #555; font-size: .85em } figcaption span { flex: 1 }
"""


def write_report(
    folder: Path,
    evaluation: Evaluation,
    worst: WorstImages,
    label_set: LabelSet | None,
    facts: Mapping[str, str],
) -> None:
    """Write ``evaluation.json``, ``report.html`` and ``pictures/*.png``.

    Args:
        folder: made if need be.
        evaluation: the figures.
        worst: images to show.
        label_set: colours and names of the labels.
        facts: what was run on what, by name; stands at the head of both files.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    content = {"facts": dict(facts), **asdict(evaluation)}
    _write(folder / JSON_FILE, json.dumps(content, indent=1).encode())
    gallery = []
    for task, failures in worst.by_task().items():
        gallery.append(f"<h2>Worst images: {task}</h2>")
        for rank, failure in enumerate(failures, 1):
            row = pictures(failure.sample, failure.predicted, label_set)[task]
            gallery.append(f"<h3>{escape(_score_line(failure.scores))}</h3>")
            gallery.append(_figure(folder / PICTURES / f"{task}-{rank:02d}.png", row))
    _write(folder / HTML_FILE, _page(evaluation, label_set, facts, gallery).encode())


def _page(
    evaluation: Evaluation,
    label_set: LabelSet | None,
    facts: Mapping[str, str],
    gallery: Sequence[str],
) -> str:
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        f"<title>{escape(evaluation.dataset)}</title><style>{_STYLE}</style>",
        f"<h1>{escape(evaluation.dataset)}: {len(evaluation.images)} images</h1>",
        '<div class="facts">',
        _table(["", ""], [[escape(k), escape(v)] for k, v in facts.items()]),
        "</div>",
        *_figures(evaluation),
        '<h2>Curves</h2><div class="charts">',
        *_charts(evaluation),
        "</div>",
    ]
    if evaluation.segmentation and label_set:
        table = _classes(evaluation.segmentation.classes, label_set)
        parts += ["<h2>Classes</h2>", '<div class="classes">', table, "</div>"]
    return "\n".join([*parts, *gallery, "</html>"])


def _figures(evaluation: Evaluation) -> list[str]:
    """Return the main figures as tables."""
    parts = []
    if s := evaluation.segmentation:
        rows = [
            ["mean IoU, classes of the truth", f"{s.mean_iou:.3f}"],
            ["mean IoU, classes of truth or prediction", f"{s.mean_iou_either:.3f}"],
            ["mean IoU, all classes, absent ones 0", f"{s.mean_iou_all:.3f}"],
            ["pixel accuracy", f"{s.pixel_accuracy:.3f}"],
            ["mean accuracy", f"{s.mean_accuracy:.3f}"],
            ["pixels labelled", f"{s.labelled:.1%}"],
        ]
        if c := evaluation.calibration:
            rows.append(["expected calibration error", f"{c.ece:.3f}"])
            rows.append(["mean confidence - accuracy", f"{c.overconfidence:+.3f}"])
            rows.append(["log loss of the confidence", f"{c.log_loss:.3f}"])
        parts += ["<h2>Labels</h2>", _table(["", ""], rows)]
    if d := evaluation.depth:
        names = [name.replace("_", " ") for name in DepthErrors.__dataclass_fields__]
        numbers = [
            [title, *(f"{value:.3f}" for value in asdict(errors).values())]
            for title, errors in (("all pixels", d.pooled), ("mean of images", d.per_image))
        ]
        more = (
            f"<p>{d.coverage:.1%} of the pixels with true depth have a prediction; median of truth "
            f"/ prediction {d.median_scale:.3f}.</p>"
        )
        parts += ["<h2>Depth</h2>", _table(["", *names], numbers), more]
    if n := evaluation.normals:
        row = [f"{v:.1f}" for v in (n.mean, n.median, n.rmse)]
        row += [f"{v:.1%}" for v in (n.within_11, n.within_22, n.within_30)]
        head = ["mean", "median", "rmse", "&lt; 11.25", "&lt; 22.5", "&lt; 30"]
        parts += ["<h2>Normals, degrees</h2>", _table(["", *head], [["", *row]])]
    return parts


def _charts(evaluation: Evaluation) -> list[str]:
    charts = []
    if evaluation.calibration:
        charts.append(reliability_chart(evaluation.calibration))
    if evaluation.depth:
        charts.append(depth_chart(evaluation.depth))
    for name, title, unit, top in (
        ("mean_iou", "Labels, image by image", "mean IoU", 1.0),
        ("depth_abs_rel", "Depth, image by image", "relative error", 0.0),
        ("normal_angle", "Normals, image by image", "degrees", 0.0),
    ):
        values = [v for image in evaluation.images if (v := getattr(image, name)) is not None]
        if values:
            charts.append(sorted_chart(values, title, unit, top))
    return charts


def _classes(classes: Sequence[ClassMetrics], label_set: LabelSet) -> str:
    rows = []
    for c in sorted(classes, key=lambda c: (-c.pixels, c.id)):
        color = "#{:02x}{:02x}{:02x}".format(*label_set.palette[c.id].tolist())
        rows.append(
            [
                f'<span class="swatch" style="background:{color}"></span>{escape(c.name)}',
                f"{c.pixels}",
                f"{c.predicted}",
                f"{c.recall:.3f}",
                f"{c.precision:.3f}",
                f"{c.iou:.3f}",
                f'<span class="bar" style="width:{100 * c.iou:.0f}px"></span>',
            ]
        )
    return _table(["class", "true pixels", "labelled so", "recall", "precision", "IoU", ""], rows)


def _score_line(scores: ImageScores) -> str:
    said = (
        ("mean IoU {:.3f}", scores.mean_iou),
        ("depth rel {:.3f}", scores.depth_abs_rel),
        ("normals {:.1f} degrees", scores.normal_angle),
    )
    parts = [text.format(value) for text, value in said if value is not None]
    return f"{scores.name}: {', '.join(parts)}"


def _figure(path: Path, row: list[Picture]) -> str:
    pixels = beside(row)
    _write(path, cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())
    jpeg = cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()
    data = base64.b64encode(jpeg).decode()
    captions = "".join(f"<span>{escape(picture.title)}</span>" for picture in row)
    return (
        f'<figure><img alt="{escape(path.stem)}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{captions}</figcaption></figure>"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; cells are HTML."""
    lines = ["<table>"]
    if any(head):
        lines.append("<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>")
    lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return "\n".join([*lines, "</table>"])


def _write(path: Path, data: bytes) -> None:
    with atomic_file(path) as file:
        file.write(data)
