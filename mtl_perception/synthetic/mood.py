# SPDX-License-Identifier: Apache-2.0
"""Time of day and lamps: how bright and of which colour what gives light in a room is."""

from dataclasses import dataclass, replace

import numpy as np

from mtl_perception.synthetic.furniture import Item
from mtl_perception.synthetic.patches import Material, Patch

WHITE_K = 6500.0
# Linear RGB of a black body, relative to daylight, as a camera half adapted to it shows it.
_TEMPERATURES_K = np.array([2700.0, 3000, 4000, 5000, 6500, 9000])
_COLORS = np.array(
    [(1, 0.68, 0.38), (1, 0.74, 0.47), (1, 0.87, 0.7), (1, 0.95, 0.88), (1, 1, 1), (0.86, 0.94, 1)]
)


@dataclass(frozen=True)
class Mood:
    """The light of one room."""

    daylight: float = 1.0  # of windows, 1 = an overcast noon
    daylight_k: float = WHITE_K  # its colour temperature
    lamps: float = 1.0  # of all lamps that are on
    lamps_on: float = 1.0  # probability that one is
    lamps_k: float = WHITE_K
    sun: float = 0.0  # of direct sun, relative to the window's own light; 0 = overcast
    sun_direction: tuple[float, float, float] = (0.0, 0.0, 1.0)  # towards it, unit
    screen: float = 0.7  # brightness 0..1 of the room's bright surfaces in a picture
    adaptation: float = 0.0  # part of the light's colour that the camera takes for white


def random_mood(rng: np.random.Generator) -> Mood:
    """Draw a bright day, a day with lamps on, or an evening."""
    kind = rng.choice(["day", "both", "evening"], p=[0.4, 0.35, 0.25])
    azimuth, height = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(15, 55))
    direction = np.array([np.cos(azimuth), np.sin(azimuth), np.tan(height)])
    direction /= np.linalg.norm(direction)
    dark = kind == "evening"
    return Mood(
        daylight=rng.uniform(0.01, 0.04) if dark else float(np.exp(rng.uniform(-0.7, 1.1))),
        daylight_k=rng.uniform(5200, 9000),
        lamps=float(np.exp(rng.uniform(-0.7, 0.5))),
        lamps_on={"day": 0.1, "both": 0.7, "evening": 0.85}[kind],
        lamps_k=float(rng.choice([2700, 3000, 3000, 4000, 5000])),
        sun=0.0 if dark or rng.random() < 0.5 else float(np.exp(rng.uniform(0.3, 1.8))),
        sun_direction=(float(direction[0]), float(direction[1]), float(direction[2])),
        screen=rng.uniform(0.42, 0.66) if dark else rng.uniform(0.55, 0.82),
        adaptation=rng.uniform(0.4, 0.95),
    )


def light_items(items: list[Item], mood: Mood, rng: np.random.Generator) -> list[Item]:
    """Return the items with windows and lamps as bright as the mood says.

    At least one thing stays lit: a room in the dark is no room for a colour camera.
    """
    lamps = [i for i, item in enumerate(items) if _gives_light(item) and not _is_window(item)]
    on = {i for i in lamps if rng.random() < mood.lamps_on}
    if lamps and not on and (mood.daylight < 0.1 or not any(map(_is_window, items))):
        on = {int(rng.choice(lamps))}
    lit = []
    for number, item in enumerate(items):
        if _is_window(item):
            item = _relit(item, mood.daylight, mood.daylight_k, min(1.0, mood.daylight))
        elif _gives_light(item):
            item = _relit(item, mood.lamps if number in on else 0.0, mood.lamps_k, 1.0)
        lit.append(item)
    return lit


def light_color(temperature_k: float) -> np.ndarray:
    """Return (3,) linear RGB of light of a colour temperature; its largest value is 1."""
    return np.array([np.interp(temperature_k, _TEMPERATURES_K, c) for c in _COLORS.T])


def _gives_light(item: Item) -> bool:
    return any(patch.emission > 0 for patch in item.patches)


def _is_window(item: Item) -> bool:
    return item.class_name == "window" and _gives_light(item)


def _relit(item: Item, power: float, temperature_k: float, looks: float) -> Item:
    color = (looks * light_color(temperature_k)).astype(np.float32)

    def relit(patch: Patch) -> Patch:
        if patch.emission <= 0:
            return patch
        if power == 0:
            return replace(patch, emission=0.0)
        material = _tinted(patch.material, color)
        return replace(patch, emission=power * patch.emission, material=material)

    return replace(item, patches=[relit(patch) for patch in item.patches])


def _tinted(material: Material, color: np.ndarray) -> Material:
    def tinted(shape: tuple[int, int], texel: float, rng: np.random.Generator) -> np.ndarray:
        return material(shape, texel, rng) * color

    return tinted
