# SPDX-License-Identifier: Apache-2.0
"""Depth against true depth: the measures of Eigen et al. 2014 (arXiv 1406.2283) and log10.

With p predicted and g true metres: abs rel = mean |p - g| / g; sq rel = mean (p - g)^2 / g;
log10 = mean |log10 p - log10 g|; RMSE = sqrt mean (p - g)^2; log RMSE = sqrt mean (ln p - ln g)^2;
delta k = share of pixels with max(p / g, g / p) < 1.25^k.

Means are either over the pixels of all images at once ("pooled": Nekrasov et al., Vandenhende et
al.) or over the images' own measures ("per image": KITTI, monodepth2). The two are not comparable.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from mtl_perception.conventions import InvalidInput


@dataclass(frozen=True)
class Crop:
    """The part of an image that counts, as fractions of its height and width."""

    top: float
    bottom: float
    left: float
    right: float

    def slices(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Return rows and columns for a (H, W) image; edges are cut off to whole pixels."""
        # The fractions of a whole number of pixels must not fall just below it.
        top, bottom = (int(f * shape[0] + 1e-6) for f in (self.top, self.bottom))
        left, right = (int(f * shape[1] + 1e-6) for f in (self.left, self.right))
        return slice(top, bottom), slice(left, right)


CROPS: Mapping[str, Crop] = MappingProxyType(
    {
        "none": Crop(0, 1, 0, 1),
        # Where the Kinect's two cameras overlap: rows 45 to 470, columns 41 to 600 of 640x480.
        "nyu": Crop(45 / 480, 471 / 480, 41 / 640, 601 / 640),
        "eigen": Crop(0.3324324, 0.91351351, 0.0359477, 0.96405229),  # KITTI, Eigen et al. 2014
        "garg": Crop(0.40810811, 0.99189189, 0.03594771, 0.96405229),  # KITTI, Garg et al. 2016
    }
)
"""Customary crops by name."""


@dataclass(frozen=True)
class DepthConfig:
    """Which pixels count, and what is done to the prediction before."""

    depth_crop: str = "none"  # a name of CROPS
    min_depth: float = 0.001  # metres; truth outside of both does not count
    max_depth: float = 10.0  # metres; predictions are brought into both
    median_scaling: bool = False  # fit each image's prediction to the truth by its median

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            InvalidInput: names the field and its value.
        """
        if self.depth_crop not in CROPS:
            raise InvalidInput(f"depth_crop {self.depth_crop!r} is not one of {', '.join(CROPS)}")
        if not 0 < self.min_depth < self.max_depth < np.inf:
            raise InvalidInput(
                f"min_depth {self.min_depth}, max_depth {self.max_depth}: want 0 < min < max"
            )


@dataclass(frozen=True)
class DepthErrors:
    """The measures; see the module."""

    abs_rel: float
    sq_rel: float  # metres
    log10: float
    rmse: float  # metres
    rmse_log: float  # of natural logarithms
    delta1: float
    delta2: float
    delta3: float


@dataclass(frozen=True)
class DepthBin:
    """How far off the prediction is where the truth is in one range."""

    near: float  # metres
    far: float
    pixels: int
    abs_rel: float  # 0 without pixels
    bias: float  # metres, mean of prediction - truth; 0 without pixels


@dataclass(frozen=True)
class DepthMetrics:
    """Agreement over all pixels that have true and predicted depth."""

    pixels: int
    missing: int  # pixels with true depth that the prediction leaves unknown (0 or not finite)
    images: int  # with at least one pixel
    pooled: DepthErrors  # over all pixels
    per_image: DepthErrors  # mean over the images
    median_scale: float  # median over images of median(truth) / median(prediction)
    bins: tuple[DepthBin, ...]  # by true depth

    @property
    def coverage(self) -> float:
        """Share of the pixels with true depth that the prediction gives depth for."""
        return self.pixels / (self.pixels + self.missing)


class DepthMeter:
    """Adds up the errors of any number of images."""

    BIN = 0.5
    """Metres of true depth in one bin of the curve over distance."""

    def __init__(self, config: DepthConfig) -> None:
        """Start with nothing counted."""
        self._config = config
        self._missing = 0
        self._counts: list[int] = []
        self._means: list[np.ndarray] = []  # of the eight terms, one row per image
        self._scales: list[float] = []
        count = int(np.ceil(config.max_depth / self.BIN))
        self._bins = np.zeros((3, count))  # pixels, sum of relative error, sum of bias

    def add(self, truth: np.ndarray, depth: np.ndarray) -> DepthErrors | None:
        """Count an image.

        Args:
            truth: (H, W) float32 metres, 0 = unknown.
            depth: (H, W) float32 metres, predicted; 0, NaN or infinite = unknown.

        Returns:
            The image's own errors; None where no pixel has both depths.

        Raises:
            InvalidInput: shapes differ.
        """
        if truth.shape != depth.shape:
            raise InvalidInput(f"true depth {truth.shape} against predicted {depth.shape}")
        g, p = self._pixels(truth, depth)
        if g.size == 0:
            return None
        scale = float(np.median(g) / np.median(p))
        p = np.clip(
            p * scale if self._config.median_scaling else p,
            self._config.min_depth,
            self._config.max_depth,
        )
        terms = _terms(p, g)
        self._counts.append(g.size)
        self._means.append(terms.mean(axis=1))
        self._scales.append(scale)
        self._count_bins(p, g)
        return _errors(self._means[-1])

    def metrics(self) -> DepthMetrics | None:
        """Return the agreement so far; None where no pixel has both depths."""
        if not self._counts:
            return None
        counts, means = np.array(self._counts), np.array(self._means)
        per_image = np.array([list(vars(_errors(row)).values()) for row in means]).mean(axis=0)
        return DepthMetrics(
            pixels=int(counts.sum()),
            missing=self._missing,
            images=len(counts),
            pooled=_errors(counts @ means / counts.sum()),
            per_image=DepthErrors(*map(float, per_image)),
            median_scale=float(np.median(self._scales)),
            bins=tuple(
                DepthBin(
                    i * self.BIN, (i + 1) * self.BIN, int(n), rel / max(n, 1), bias / max(n, 1)
                )
                for i, (n, rel, bias) in enumerate(self._bins.T.tolist())
            ),
        )

    def _pixels(self, truth: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return true and predicted depth, (N,) float64, of the pixels that count."""
        rows, columns = CROPS[self._config.depth_crop].slices((truth.shape[0], truth.shape[1]))
        g, p = truth[rows, columns], depth[rows, columns]
        counts = (g > self._config.min_depth) & (g < self._config.max_depth)
        known = counts & np.isfinite(p) & (p > 0)
        self._missing += int(counts.sum() - known.sum())
        return g[known].astype(np.float64), p[known].astype(np.float64)

    def _count_bins(self, p: np.ndarray, g: np.ndarray) -> None:
        row = (g / self.BIN).astype(np.int64)
        size = self._bins.shape[1]
        self._bins += [
            np.bincount(row, minlength=size),
            np.bincount(row, np.abs(p - g) / g, size),
            np.bincount(row, p - g, size),
        ]


def _terms(p: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Return what is averaged, per pixel: (8, N), in the order of ``DepthErrors``."""
    difference = p - g
    log = np.log(p) - np.log(g)
    ratio = np.maximum(p / g, g / p)
    return np.stack(
        [
            np.abs(difference) / g,
            difference**2 / g,
            np.abs(log) / np.log(10),
            difference**2,
            log**2,
            *(ratio < 1.25**k for k in (1, 2, 3)),
        ]
    )


def _errors(means: np.ndarray) -> DepthErrors:
    """Return the measures of the averaged terms."""
    abs_rel, sq_rel, log10, square, log_square, *deltas = means.tolist()
    return DepthErrors(abs_rel, sq_rel, log10, square**0.5, log_square**0.5, *deltas)
