"""Things that stand about on the floor. Every function builds one object of a random size and finish."""

import numpy as np

from ovseg3r_model.rooms.shapes import Shape
from ovseg3r_model.rooms.textures import Pattern, fabric, hue, metal, of, paint, wood

Rng = np.random.Generator


def floor_lamp(rng: Rng) -> Shape:
    s, steel = Shape(), metal(rng)
    s.cylinder(0, 0, 0, 0.14, 0.03, steel)
    s.cylinder(0, 0, 0.03, 0.015, 1.32, steel)
    s.turned(0, 0, [(0.2, 1.3), (0.13, 1.6), (0.12, 1.6), (0.19, 1.3)], paint(rng, hue(rng, 0.3, 0.9)), 24)
    return s


def potted_plant(rng: Rng) -> Shape:
    s = Shape()
    green = of(rng, Pattern.LEAVES, (0.25, 0.5, 0.2), (0.1, 0.25, 0.08), 0.05)
    s.vessel(0, 0, 0, 0.12, 0.17, 0.3, 0.015, paint(rng, (0.7, 0.4, 0.28)))
    s.cylinder(0, 0, 0.015, 0.125, 0.24, paint(rng, (0.25, 0.17, 0.12)), top=0.145)
    s.cylinder(0, 0, 0.255, 0.025, 0.35, wood(rng))
    s.ball(0, 0, 0.5, 0.17, 0.5, green)
    for k in range(8):  # tufts that grow out of the crown
        angle, height = k * 2.4 + rng.uniform(0, 0.5), 0.42 + 0.055 * k
        s.ball(
            0.13 * np.cos(angle), 0.13 * np.sin(angle), height, rng.uniform(0.08, 0.12), rng.uniform(0.16, 0.24), green
        )
    return s


def trash_can(rng: Rng) -> Shape:
    s = Shape()
    s.vessel(0, 0, 0, 0.11, rng.uniform(0.13, 0.16), rng.uniform(0.28, 0.36), 0.008, paint(rng))
    return s


def cardboard_box(rng: Rng) -> Shape:
    s = Shape()
    w, d, h = rng.uniform(0.3, 0.5), rng.uniform(0.25, 0.4), rng.uniform(0.2, 0.35)
    s.box(0, 0, 0, w, d, h, of(rng, Pattern.COVER, (0.72, 0.56, 0.38), (0.3, 0.2, 0.13)))
    return s


def suitcase(rng: Rng) -> Shape:
    s, shell = Shape(), fabric(rng)
    for x in (-0.16, 0.16):
        s.ball(x, 0, 0, 0.025, 0.05, metal(rng))
    s.box(0, 0, 0.05, 0.42, 0.24, 0.6, shell)
    for x in (-0.1, 0.1):
        s.box(x, 0.08, 0.65, 0.015, 0.015, 0.22, metal(rng))
    s.box(0, 0.08, 0.87, 0.22, 0.025, 0.02, metal(rng))
    return s


def backpack(rng: Rng) -> Shape:
    s, cloth = Shape(), fabric(rng)
    s.box(0, 0.03, 0, 0.32, 0.16, 0.4, cloth)
    s.turned(0, 0.03, [(0, 0.4), (0.14, 0.4), (0.1, 0.46), (0, 0.48)], cloth)
    s.box(0, -0.085, 0.03, 0.24, 0.07, 0.2, cloth)
    return s


def laundry_basket(rng: Rng) -> Shape:
    s = Shape()
    cane = of(rng, Pattern.CHECKS, (0.75, 0.6, 0.4), (0.4, 0.28, 0.16), 0.03)
    s.vessel(0, 0, 0, 0.18, 0.22, 0.5, 0.012, cane)
    s.ball(0, 0, 0.3, 0.16, 0.24, fabric(rng))
    return s


def bucket(rng: Rng) -> Shape:
    s = Shape()
    s.vessel(0, 0, 0, 0.1, 0.14, 0.27, 0.006, paint(rng, hue(rng, 0.8, 0.8)))
    return s


def ball(rng: Rng) -> Shape:
    s = Shape()
    radius = rng.uniform(0.1, 0.13)
    s.ball(0, 0, 0, radius, 2 * radius, of(rng, Pattern.BLOBS, hue(rng, 0.9, 0.9), (0.95, 0.95, 0.95), 0.08))
    return s


def fan(rng: Rng) -> Shape:
    s, steel = Shape(), metal(rng)
    s.cylinder(0, 0, 0, 0.17, 0.03, steel)
    s.cylinder(0, 0, 0.03, 0.018, 0.95, steel)
    s.box(0, 0, 0.98, 0.09, 0.16, 0.09, steel)
    for k in range(3):
        blade = 0.36 - 0.1 * k
        s.box(0, -0.09 - 0.012 * k, 1.02 - blade / 2, blade, 0.012, blade, paint(rng))
    return s
