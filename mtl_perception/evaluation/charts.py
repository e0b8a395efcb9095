# SPDX-License-Identifier: Apache-2.0
"""Curves of an evaluation as SVG text: no library, sharp at any size, readable inside a page."""

import math
from collections.abc import Sequence
from html import escape

from mtl_perception.evaluation.calibration import CalibrationMetrics
from mtl_perception.evaluation.depth import DepthMetrics

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 28, 44
BLUE, RED, GRAY = "#2563a8", "#c8323c", "#9aa0a8"


class _Axes:
    """Where values lie in the picture; the axes end at round numbers around the values."""

    def __init__(self, x_max: float, y_max: float, y_min: float = 0.0) -> None:
        self.x_ticks, self.y_ticks = _ticks(0.0, x_max), _ticks(y_min, y_max)

    def x(self, value: float) -> float:
        return LEFT + value / self.x_ticks[-1] * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)


def _ticks(low: float, high: float) -> list[float]:
    """Return four to seven round numbers, equally far apart, around the range and through 0."""
    least = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * round_ for round_ in (1, 2, 2.5, 5, 10) if power * round_ >= least)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def reliability_chart(metrics: CalibrationMetrics) -> str:
    """Return the reliability diagram: accuracy over confidence, and how many pixels there are."""
    axes = _Axes(1, 1)
    most = max(b.pixels for b in metrics.bins)
    parts = []
    for b in metrics.bins:
        if not b.pixels:
            continue
        parts.append(_bar(axes, b.low, b.high, b.pixels / most * 0.25, GRAY, 0.35))
        parts.append(_bar(axes, b.low, b.high, b.accuracy, BLUE, 0.75))
    parts.append(_line([(axes.x(0), axes.y(0)), (axes.x(1), axes.y(1))], RED, dashed=True))
    title = f"Accuracy over confidence (ECE {metrics.ece:.3f}; grey: how many pixels)"
    return _chart(axes, title, "confidence", "accuracy", parts)


def depth_chart(metrics: DepthMetrics) -> str:
    """Return relative error and bias over distance."""
    bins = [b for b in metrics.bins if b.pixels]
    far = max(b.far for b in bins)
    values = [b.abs_rel for b in bins] + [b.bias / (b.near + b.far) * 2 for b in bins]
    axes = _Axes(far, max(0.2, *values), min(0.0, *values))
    low, high = axes.y_ticks[0], axes.y_ticks[-1]
    most = max(b.pixels for b in bins)
    parts = [
        _bar(axes, b.near, b.far, low + b.pixels / most * 0.25 * (high - low), GRAY, 0.35)
        for b in bins
    ]
    middles = [(b.near + b.far) / 2 for b in bins]
    rel = [(axes.x(m), axes.y(b.abs_rel)) for m, b in zip(middles, bins, strict=True)]
    bias = [(axes.x(m), axes.y(b.bias / m)) for m, b in zip(middles, bins, strict=True)]
    parts += [_line(rel, BLUE), _line(bias, RED, dashed=True)]
    title = "Depth error over distance (blue |error|, red bias, grey: how many pixels)"
    return _chart(axes, title, "true depth, m", "relative", parts)


def sorted_chart(values: Sequence[float], title: str, what: str, top: float = 0.0) -> str:
    """Return the values of all images in ascending order, so that outliers and spread show.

    Args:
        values: one per image.
        title: of the chart.
        what: the values are, with their unit.
        top: of the axis; 0 = above the highest value.
    """
    ordered = sorted(values)
    axes = _Axes(100, top or max(1e-3, *ordered))
    steps = max(1, len(ordered) - 1)
    points = [(axes.x(100 * i / steps), axes.y(v)) for i, v in enumerate(ordered)]
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{BLUE}"/>' for x, y in points]
    shown = dots if len(points) <= 60 else []
    return _chart(axes, title, "images, percent", what, [_line(points, BLUE), *shown])


def curve_chart(xs: Sequence[float], ys: Sequence[float], title: str, x_name: str) -> str:
    """Return values over a count that grows, such as losses over steps."""
    axes = _Axes(max(xs), max(1e-3, *ys))
    points = [(axes.x(x), axes.y(y)) for x, y in zip(xs, ys, strict=True)]
    return _chart(axes, title, x_name, "", [_line(points, BLUE)])


def _chart(axes: _Axes, title: str, x_name: str, y_name: str, parts: Sequence[str]) -> str:
    grid = []
    for y in axes.y_ticks:
        grid.append(_line([(LEFT, axes.y(y)), (WIDTH - RIGHT, axes.y(y))], "#d8dce2", width=1))
        grid.append(_text(LEFT - 6, axes.y(y) + 4, f"{y:.3g}", "end"))
    grid += [_text(axes.x(x), HEIGHT - BOTTOM + 16, f"{x:.3g}", "middle") for x in axes.x_ticks]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(title)}">',
            _text(WIDTH / 2, 16, title, "middle"),
            *grid,
            *parts,
            _text((WIDTH + LEFT) / 2, HEIGHT - 8, x_name, "middle"),
            f'<g transform="translate(12 {HEIGHT / 2}) rotate(-90)">{_text(0, 0, y_name, "middle")}'
            "</g></svg>",
        ]
    )


def _bar(axes: _Axes, low: float, high: float, top: float, color: str, opacity: float) -> str:
    x, y = axes.x(low), axes.y(top)
    return (
        f'<rect x="{x + 0.5:.1f}" y="{y:.1f}" width="{axes.x(high) - x - 1:.1f}" '
        f'height="{HEIGHT - BOTTOM - y:.1f}" fill="{color}" fill-opacity="{opacity}"/>'
    )


def _line(
    points: Sequence[tuple[float, float]], color: str, dashed: bool = False, width: float = 2
) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="6 4"' if dashed else ""
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"{dash}/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" font-family="sans-serif" fill="#333" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
