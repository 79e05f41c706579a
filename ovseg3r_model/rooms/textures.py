"""The colours of surfaces: procedural, fixed to the surface, the same from every viewpoint, never repeating.

A point is coloured from its coordinates in its own object's frame (metres), so a texture moves with its object. The
only thing taken from the camera is the footprint of a pixel on the surface: detail finer than that is left out, as a
lens and a sensor would, or it would alias.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Colour = tuple[float, float, float]


class Pattern(IntEnum):
    """How a surface is painted. From PICTURE on they are the faces of flat things."""

    BLOBS = 0
    WOOD = 1
    CHECKS = 2
    STRIPES = 3
    WALLPAPER = 4
    PLANKS = 5
    METAL = 6
    COVER = 7
    SCREEN = 8
    KEYS = 9
    LEAVES = 10
    DOORS = 11
    PICTURE = 20
    PAPER = 21
    CALENDAR = 22
    RUG = 23
    SOCKET = 24
    SWITCH = 25
    WHITEBOARD = 26
    MAP = 27
    MIRROR = 28
    POSTER = 29
    DOORMAT = 30
    CLOCK = 31
    STICKER = 32
    PLACEMAT = 33


@dataclass(frozen=True)
class Material:
    """A pattern between two colours (RGB in [0, 1]); scale is the size of its largest feature, metres."""

    pattern: Pattern
    first: Colour
    second: Colour
    scale: float = 0.05
    seed: int = 0


def hue(rng: np.random.Generator, saturation: float, value: float) -> Colour:
    """A colour of random hue; saturation and value in [0, 1], each varied a little."""
    angle = rng.uniform(0, 2 * np.pi)
    s = float(np.clip(saturation * rng.uniform(0.7, 1.2), 0, 1))
    v = float(np.clip(value * rng.uniform(0.85, 1.1), 0, 1))
    wave = 0.5 + 0.5 * np.cos(angle - np.array([0.0, 2 * np.pi / 3, 4 * np.pi / 3]))
    red, green, blue = v * (1 - s + s * wave)
    return float(red), float(green), float(blue)


def shaded(colour: Colour, factor: float) -> Colour:
    """The colour, darker or lighter by a factor."""
    red, green, blue = (min(1.0, c * factor) for c in colour)
    return red, green, blue


def wood(rng: np.random.Generator) -> Material:
    tone = [(0.72, 0.52, 0.32), (0.5, 0.33, 0.2), (0.82, 0.68, 0.48), (0.36, 0.23, 0.15), (0.62, 0.4, 0.24)][
        rng.integers(5)
    ]
    return Material(Pattern.WOOD, tone, shaded(tone, 0.58), 0.05, _seed(rng))


def paint(rng: np.random.Generator, colour: Colour | None = None) -> Material:
    tone = colour or hue(rng, 0.4, 0.75)
    return Material(Pattern.BLOBS, tone, shaded(tone, 0.72), rng.uniform(0.03, 0.06), _seed(rng))


def fabric(rng: np.random.Generator) -> Material:
    pattern = [Pattern.BLOBS, Pattern.CHECKS, Pattern.STRIPES, Pattern.BLOBS][rng.integers(4)]
    tone = hue(rng, 0.6, 0.7)
    return Material(pattern, tone, shaded(tone, 0.55) if rng.random() < 0.6 else hue(rng, 0.5, 0.85), 0.06, _seed(rng))


def metal(rng: np.random.Generator) -> Material:
    return Material(Pattern.METAL, (0.66, 0.67, 0.69), (0.44, 0.45, 0.48), 0.03, _seed(rng))


def of(rng: np.random.Generator, pattern: Pattern, first: Colour, second: Colour, scale: float = 0.05) -> Material:
    return Material(pattern, first, second, scale, _seed(rng))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1, 2**31))


def material_table(materials: list[Material]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """What the kernels read: (M,2) int64 of pattern and seed, (M,7) float64 of both colours and the scale."""
    kinds = np.array([[int(m.pattern), m.seed] for m in materials], np.int64)
    values = np.array([[*m.first, *m.second, m.scale] for m in materials], np.float64)
    return kinds, values
