"""Small things that stand on furniture. Every function builds one object of a random size and finish."""

import numpy as np

from ovseg3r_model.rooms.shapes import Shape
from ovseg3r_model.rooms.textures import Colour, Pattern, fabric, hue, metal, of, paint, wood

Rng = np.random.Generator
BLACK: Colour = (0.16, 0.16, 0.18)


def tv(rng: Rng) -> Shape:
    s, dark = Shape(), of(rng, Pattern.METAL, (0.2, 0.2, 0.22), (0.08, 0.08, 0.09))
    width = rng.uniform(0.8, 1.1)
    s.box(0, 0, 0, width * 0.4, 0.2, 0.02, dark)
    s.box(0, 0.02, 0.02, 0.1, 0.04, 0.06, dark)
    s.box(0, 0, 0.08, width, 0.04, width * 0.57, of(rng, Pattern.SCREEN, hue(rng, 0.7, 0.7), hue(rng, 0.7, 0.8)))
    return s


def monitor(rng: Rng) -> Shape:
    s, dark = Shape(), of(rng, Pattern.METAL, (0.25, 0.25, 0.27), (0.1, 0.1, 0.11))
    s.box(0, 0, 0, 0.24, 0.18, 0.015, dark)
    s.box(0, 0.045, 0.015, 0.05, 0.03, 0.3, dark)
    s.box(
        0, 0.01, 0.1, rng.uniform(0.5, 0.6), 0.035, 0.34, of(rng, Pattern.SCREEN, hue(rng, 0.6, 0.8), (0.85, 0.87, 0.9))
    )
    return s


def keyboard(rng: Rng) -> Shape:
    s = Shape()
    s.box(0, 0, 0, 0.44, 0.14, 0.022, of(rng, Pattern.KEYS, BLACK, (0.75, 0.75, 0.73)))
    return s


def mouse(rng: Rng) -> Shape:
    s = Shape()
    s.turned(0, 0, [(0, 0), (0.035, 0), (0.036, 0.018), (0.026, 0.032), (0, 0.037)], paint(rng, (0.3, 0.3, 0.32)))
    return s


def laptop(rng: Rng) -> Shape:
    s = Shape()
    s.box(0, 0, 0, 0.34, 0.24, 0.018, of(rng, Pattern.KEYS, (0.6, 0.6, 0.62), (0.18, 0.18, 0.2)))
    s.box(0, 0.115, 0.018, 0.34, 0.01, 0.23, of(rng, Pattern.SCREEN, hue(rng, 0.6, 0.8), (0.8, 0.85, 0.9)), tilt=0.25)
    return s


def table_lamp(rng: Rng) -> Shape:
    s, foot = Shape(), paint(rng)
    s.turned(0, 0, [(0, 0), (0.08, 0), (0.08, 0.02), (0.025, 0.06), (0.06, 0.15), (0.02, 0.24), (0, 0.24)], foot)
    s.turned(0, 0, [(0.14, 0.22), (0.08, 0.42), (0.074, 0.42), (0.134, 0.22)], paint(rng, hue(rng, 0.3, 0.95)), 24)
    return s


def book(rng: Rng) -> Shape:
    s = Shape()
    w, d, h = rng.uniform(0.14, 0.2), rng.uniform(0.2, 0.27), rng.uniform(0.02, 0.05)
    s.box(0, 0, 0, w, d, h, of(rng, Pattern.COVER, hue(rng, 0.7, 0.7), (0.95, 0.93, 0.85)))
    return s


def books(rng: Rng) -> Shape:
    """A row of standing books."""
    s, x = Shape(), 0.0
    for _ in range(int(rng.integers(4, 9))):
        w, d, h = rng.uniform(0.02, 0.045), rng.uniform(0.15, 0.2), rng.uniform(0.18, 0.25)
        s.box(
            x + w / 2, 0.1 - d / 2, 0, w - 0.001, d, h, of(rng, Pattern.COVER, hue(rng, 0.7, 0.7), (0.95, 0.93, 0.85))
        )
        x += w
    for k, piece in enumerate(s.pieces):  # back to the middle
        s.pieces[k] = type(piece)(piece.vertices - [x / 2, 0, 0], piece.triangles, piece.material, piece.frame)
    return s


def bowl(rng: Rng) -> Shape:
    s = Shape()
    r, h = rng.uniform(0.09, 0.14), rng.uniform(0.06, 0.09)
    profile = [
        (0, 0),
        (r * 0.45, 0),
        (r * 0.8, h * 0.4),
        (r, h),
        (r - 0.006, h),
        (r * 0.76, h * 0.45),
        (r * 0.4, 0.01),
        (0, 0.008),
    ]
    s.turned(0, 0, profile, paint(rng, hue(rng, 0.6, 0.85)), 24)
    return s


def bottle(rng: Rng) -> Shape:
    s = Shape()
    r, h = rng.uniform(0.033, 0.042), rng.uniform(0.22, 0.3)
    glass = of(rng, Pattern.BLOBS, hue(rng, 0.8, 0.5), (0.9, 0.9, 0.8), 0.04)
    s.turned(0, 0, [(0, 0), (r, 0), (r, h * 0.62), (r * 0.4, h * 0.78), (r * 0.36, h), (0, h)], glass)
    return s


def cup(rng: Rng) -> Shape:
    s, glaze = Shape(), of(rng, Pattern.STRIPES, hue(rng, 0.7, 0.8), (0.9, 0.9, 0.88), 0.02)
    s.vessel(0, 0, 0, 0.034, 0.042, 0.095, 0.004, glaze)
    s.box(0.052, 0, 0.025, 0.022, 0.01, 0.05, glaze)
    return s


def plate(rng: Rng) -> Shape:
    s = Shape()
    r = rng.uniform(0.1, 0.13)
    profile = [(0, 0), (r * 0.6, 0), (r, 0.02), (r, 0.024), (r * 0.6, 0.007), (0, 0.007)]
    s.turned(0, 0, profile, of(rng, Pattern.BLOBS, (0.92, 0.92, 0.9), hue(rng, 0.6, 0.7), 0.04), 28)
    return s


def vase(rng: Rng) -> Shape:
    s = Shape()
    h = rng.uniform(0.2, 0.32)
    profile = [
        (0, 0),
        (0.05, 0),
        (0.085, h * 0.4),
        (0.035, h * 0.8),
        (0.055, h),
        (0.048, h),
        (0.028, h * 0.8),
        (0, h * 0.75),
    ]
    s.turned(0, 0, profile, of(rng, Pattern.BLOBS, hue(rng, 0.7, 0.8), hue(rng, 0.7, 0.5), 0.04), 24)
    return s


def flower_pot(rng: Rng) -> Shape:
    s = Shape()
    s.vessel(0, 0, 0, 0.06, 0.08, 0.13, 0.008, paint(rng, (0.72, 0.42, 0.3)))
    green = of(rng, Pattern.LEAVES, (0.35, 0.6, 0.25), (0.12, 0.3, 0.1), 0.03)
    s.ball(0, 0, 0.08, 0.068, 0.1, green)
    for k in range(4):
        s.ball(0.05 * np.cos(k * 1.7), 0.05 * np.sin(k * 1.7), 0.13 + 0.02 * k, 0.05, 0.11, green)
    return s


def telephone(rng: Rng) -> Shape:
    s, body = Shape(), paint(rng, hue(rng, 0.5, 0.5))
    s.box(0.03, 0, 0, 0.2, 0.2, 0.04, of(rng, Pattern.KEYS, body.first, (0.9, 0.9, 0.9)))
    s.box(-0.04, 0, 0.04, 0.05, 0.2, 0.035, body)
    return s


def tissue_box(rng: Rng) -> Shape:
    s = Shape()
    s.box(0, 0, 0, 0.23, 0.12, 0.08, of(rng, Pattern.CHECKS, hue(rng, 0.5, 0.9), hue(rng, 0.5, 0.6), 0.025))
    s.turned(
        0, 0, [(0, 0.08), (0.02, 0.08), (0.045, 0.12), (0.01, 0.135), (0, 0.13)], paint(rng, (0.95, 0.95, 0.95)), 8
    )
    return s


def speaker(rng: Rng) -> Shape:
    s = Shape()
    s.box(0, 0, 0, 0.17, 0.2, 0.28, wood(rng))
    for z, w in ((0.03, 0.13), (0.19, 0.06)):
        s.box(0, -0.105, z, w, 0.01, w, paint(rng, BLACK))
    return s


def printer(rng: Rng) -> Shape:
    s, body = Shape(), paint(rng, (0.6, 0.6, 0.62))
    s.box(0, 0.02, 0, 0.42, 0.32, 0.18, body)
    s.box(0, -0.2, 0.05, 0.26, 0.12, 0.01, paint(rng, BLACK))
    s.box(0, 0.12, 0.18, 0.26, 0.02, 0.14, paint(rng, (0.92, 0.92, 0.92)), tilt=0.3)
    s.box(0.13, -0.1425, 0.12, 0.1, 0.005, 0.04, of(rng, Pattern.SCREEN, (0.2, 0.5, 0.7), (0.8, 0.9, 0.9)))
    return s


def microwave(rng: Rng) -> Shape:
    s = Shape()
    s.box(0, 0.01, 0, 0.48, 0.34, 0.28, metal(rng))
    s.box(-0.06, -0.165, 0.03, 0.32, 0.01, 0.22, paint(rng, BLACK))
    s.box(0.17, -0.165, 0.03, 0.1, 0.01, 0.22, of(rng, Pattern.KEYS, (0.3, 0.3, 0.32), (0.85, 0.85, 0.85)))
    return s


def toaster(rng: Rng) -> Shape:
    s = Shape()
    s.box(0, 0, 0, 0.28, 0.17, 0.18, metal(rng))
    for y in (-0.035, 0.035):
        s.box(0, y, 0.18, 0.2, 0.02, 0.025, paint(rng, (0.7, 0.5, 0.3)))
    s.box(0.147, 0, 0.1, 0.014, 0.04, 0.02, paint(rng, BLACK))
    return s


def kettle(rng: Rng) -> Shape:
    s, steel = Shape(), metal(rng)
    s.turned(0, 0, [(0, 0), (0.085, 0), (0.095, 0.05), (0.06, 0.2), (0, 0.21)], steel, 24)
    s.box(0.11, 0, 0.06, 0.02, 0.025, 0.13, paint(rng, BLACK))
    s.box(0.085, 0, 0.17, 0.06, 0.025, 0.02, paint(rng, BLACK))
    return s


def candle(rng: Rng) -> Shape:
    s = Shape()
    s.cylinder(0, 0, 0, 0.05, 0.012, metal(rng))
    s.cylinder(0, 0, 0.012, 0.03, rng.uniform(0.08, 0.18), paint(rng, hue(rng, 0.4, 0.9)))
    return s


def alarm_clock(rng: Rng) -> Shape:
    s = Shape()
    s.box(0, 0, 0, 0.16, 0.07, 0.09, of(rng, Pattern.SCREEN, (0.8, 0.2, 0.15), (0.2, 0.2, 0.22)))
    return s


def jar(rng: Rng) -> Shape:
    s = Shape()
    s.cylinder(0, 0, 0, 0.045, 0.12, of(rng, Pattern.BLOBS, hue(rng, 0.7, 0.8), (0.9, 0.85, 0.7), 0.03))
    s.cylinder(0, 0, 0.12, 0.04, 0.02, metal(rng))
    return s


def cooking_pot(rng: Rng) -> Shape:
    s, steel = Shape(), metal(rng)
    s.vessel(0, 0, 0, 0.12, 0.12, 0.13, 0.006, steel)
    for side in (-1, 1):
        s.box(side * 0.14, 0, 0.09, 0.04, 0.06, 0.015, steel)
    return s


def pillow(rng: Rng) -> Shape:
    s = Shape()
    cloth = fabric(rng)
    w, d = rng.uniform(0.38, 0.5), rng.uniform(0.3, 0.38)
    for k, (shrink, height) in enumerate(((0.05, 0.03), (0.0, 0.05), (0.06, 0.03))):
        s.box(0, 0, (0.0, 0.03, 0.08)[k], w - shrink, d - shrink, height, cloth)
    return s


def teddy_bear(rng: Rng) -> Shape:
    s, fur = Shape(), of(rng, Pattern.BLOBS, (0.65, 0.45, 0.28), (0.4, 0.26, 0.15), 0.03)
    s.ball(0, 0, 0, 0.09, 0.2, fur)
    s.ball(0, 0, 0.17, 0.07, 0.13, fur)
    for side in (-1, 1):
        s.ball(side * 0.055, 0, 0.27, 0.025, 0.05, fur)
        s.ball(side * 0.1, -0.02, 0.1, 0.032, 0.09, fur)
        s.ball(side * 0.06, -0.1, 0.0, 0.038, 0.075, fur)
    return s
