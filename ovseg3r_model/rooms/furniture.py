"""Furniture: what stands on the floor or hangs at a wall. Every function builds one object of a random size and
finish.
"""

import numpy as np

from ovseg3r_model.rooms.shapes import Shape
from ovseg3r_model.rooms.textures import Pattern, fabric, metal, of, paint, shaded, wood

Rng = np.random.Generator


def sofa(rng: Rng) -> Shape:
    s, cloth = Shape(), fabric(rng)
    width, depth = rng.uniform(1.6, 2.1), rng.uniform(0.8, 0.92)
    s.legs(width - 0.1, depth - 0.1, 0.08, 0.06, wood(rng))
    s.box(0, 0, 0.08, width, depth, 0.2, cloth)
    s.box(0, depth / 2 - 0.11, 0.28, width - 0.4, 0.22, 0.55, cloth)
    for side in (-1, 1):
        s.box(side * (width / 2 - 0.1), 0, 0.28, 0.2, depth, 0.33, cloth)
        s.box(side * (width - 0.4) / 4, -0.11, 0.28, (width - 0.42) / 2, depth - 0.22, 0.15, cloth)
    s.support(-(width - 0.44) / 2, (width - 0.44) / 2, -depth / 2, depth / 2 - 0.23, 0.43, 1.0, soft=True)
    return s


def armchair(rng: Rng) -> Shape:
    s, cloth = Shape(), fabric(rng)
    s.legs(0.7, 0.7, 0.1, 0.05, wood(rng))
    s.box(0, 0, 0.1, 0.8, 0.78, 0.2, cloth)
    s.box(0, 0.3, 0.3, 0.48, 0.18, 0.55, cloth)
    for side in (-1, 1):
        s.box(side * 0.32, 0, 0.3, 0.16, 0.78, 0.27, cloth)
    s.box(0, -0.09, 0.3, 0.47, 0.6, 0.13, cloth)
    s.support(-0.22, 0.22, -0.38, 0.2, 0.43, 1.0, soft=True)
    return s


def bed(rng: Rng) -> Shape:
    s, frame, cloth = Shape(), wood(rng), fabric(rng)
    width = rng.uniform(1.0, 1.6)
    s.legs(width, 2.0, 0.25, 0.08, frame)
    s.box(0, 0, 0.25, width, 2.0, 0.1, frame)
    s.box(0, 1.03, 0, width, 0.06, rng.uniform(0.9, 1.1), frame)
    s.box(0, -0.02, 0.35, width - 0.04, 1.94, 0.18, paint(rng, (0.85, 0.83, 0.8)))
    s.box(0, -0.31, 0.53, width, 1.36, 0.05, cloth)
    s.support(-width / 2 + 0.05, width / 2 - 0.05, 0.42, 0.94, 0.53, 1.0, soft=True)
    return s


def wardrobe(rng: Rng) -> Shape:
    s, finish = Shape(), wood(rng)
    front = of(rng, Pattern.DOORS, finish.first, finish.second)
    width, depth, height = rng.uniform(1.0, 1.6), rng.uniform(0.55, 0.62), rng.uniform(1.9, 2.15)
    s.box(0, 0.01, 0, width, depth - 0.02, height, finish)
    for side in (-1, 1):
        door = s.box(side * width / 4, -depth / 2 + 0.01, 0.08, width / 2 - 0.01, 0.02, height - 0.1, front)
        s.host(door, "-y", "front")
        s.box(side * 0.05, -depth / 2 - 0.015, height * 0.47, 0.02, 0.03, 0.18, metal(rng))
    return s


def _shelves(s: Shape, rng: Rng, width: float, depth: float, height: float, count: int) -> None:
    finish = wood(rng)
    for side in (-1, 1):
        s.box(side * (width / 2 - 0.0125), 0, 0, 0.025, depth, height, finish)
    # A dark back, so that the boards stand out from it.
    back = of(rng, Pattern.WOOD, shaded(finish.first, 0.55), shaded(finish.first, 0.35))
    s.box(0, depth / 2 - 0.005, 0, width - 0.05, 0.01, height, back)
    step = (height - 0.085) / count
    for k in range(count + 1):
        z = 0.06 + k * step
        s.box(0, -0.005, z, width - 0.05, depth - 0.01, 0.025, finish)
        if k < count:
            s.support(-width / 2 + 0.03, width / 2 - 0.03, -depth / 2, depth / 2 - 0.012, z + 0.025, step - 0.03)
    if height < 1.3:
        s.support(-width / 2, width / 2, -depth / 2, depth / 2, height, 0.4)


def bookshelf(rng: Rng) -> Shape:
    s = Shape()
    _shelves(s, rng, rng.uniform(0.7, 1.0), 0.32, rng.uniform(1.6, 1.95), 5)
    return s


def low_shelf(rng: Rng) -> Shape:
    s = Shape()
    _shelves(s, rng, rng.uniform(0.8, 1.2), 0.34, 0.85, 2)
    return s


def _chest(s: Shape, rng: Rng, width: float, depth: float, height: float, rows: int, columns: int) -> None:
    finish = wood(rng)
    front = of(rng, Pattern.DOORS, shaded(finish.first, 1.1), finish.second)
    s.box(0, 0.01, 0.08, width, depth - 0.02, height - 0.11, finish)
    s.legs(width - 0.04, depth - 0.06, 0.08, 0.05, finish)
    top = s.box(0, 0, height - 0.03, width + 0.02, depth, 0.03, finish)
    s.host(top, "+z", "top")
    dx, dz = width / columns, (height - 0.15) / rows
    for i in range(columns):
        for k in range(rows):
            x, z = (i + 0.5) * dx - width / 2, 0.1 + k * dz
            panel = s.box(x, -depth / 2 + 0.01, z, dx - 0.015, 0.02, dz - 0.015, front)
            if dz > 0.35:
                s.host(panel, "-y", "front")
            s.box(x, -depth / 2 - 0.01, z + dz * 0.5, 0.1, 0.02, 0.015, metal(rng))
    s.support(-width / 2, width / 2, -depth / 2 + 0.01, depth / 2, height, 0.7)


def cabinet(rng: Rng) -> Shape:
    s = Shape()
    _chest(s, rng, rng.uniform(0.8, 1.2), 0.42, rng.uniform(0.8, 1.0), 1, 2)
    return s


def dresser(rng: Rng) -> Shape:
    s = Shape()
    _chest(s, rng, rng.uniform(0.8, 1.1), 0.46, rng.uniform(0.8, 1.0), 4, 2)
    return s


def nightstand(rng: Rng) -> Shape:
    s = Shape()
    _chest(s, rng, rng.uniform(0.4, 0.5), 0.4, rng.uniform(0.48, 0.6), 2, 1)
    return s


def tv_stand(rng: Rng) -> Shape:
    s = Shape()
    _chest(s, rng, rng.uniform(1.2, 1.6), 0.42, 0.5, 1, 3)
    return s


def _table(s: Shape, rng: Rng, width: float, depth: float, height: float) -> None:
    finish = wood(rng)
    s.legs(width - 0.06, depth - 0.06, height - 0.03, 0.055, finish if rng.random() < 0.6 else metal(rng))
    top = s.box(0, 0, height - 0.03, width, depth, 0.03, finish)
    s.host(top, "+z", "top")
    s.support(-width / 2, width / 2, -depth / 2, depth / 2, height, 0.8)


def table(rng: Rng) -> Shape:
    s = Shape()
    _table(s, rng, rng.uniform(1.2, 1.6), rng.uniform(0.75, 0.9), rng.uniform(0.72, 0.76))
    return s


def coffee_table(rng: Rng) -> Shape:
    s = Shape()
    _table(s, rng, rng.uniform(0.8, 1.1), rng.uniform(0.5, 0.6), rng.uniform(0.4, 0.46))
    return s


def desk(rng: Rng) -> Shape:
    s = Shape()
    width, depth = rng.uniform(1.2, 1.5), rng.uniform(0.62, 0.72)
    _table(s, rng, width, depth, 0.74)
    front = wood(rng)
    x = width / 2 - 0.3
    s.box(x, 0.02, 0.2, 0.36, depth - 0.16, 0.51, front)
    for k in range(3):
        z = 0.22 + k * 0.165
        s.box(x, -depth / 2 + 0.09, z, 0.34, 0.02, 0.15, of(rng, Pattern.DOORS, front.first, front.second))
    return s


def chair(rng: Rng) -> Shape:
    s, finish = Shape(), wood(rng)
    s.legs(0.42, 0.42, 0.43, 0.035, finish)
    s.box(0, 0, 0.43, 0.43, 0.43, 0.035, fabric(rng) if rng.random() < 0.4 else finish)
    for side in (-1, 1):
        s.box(side * 0.19, 0.195, 0.465, 0.035, 0.03, 0.45, finish)
    for k in range(3):
        s.box(0, 0.195, 0.55 + k * 0.13, 0.345, 0.02, 0.09, finish)
    return s


def office_chair(rng: Rng) -> Shape:
    s, steel, cloth = Shape(), metal(rng), fabric(rng)
    for k in range(2):
        s.box(0, 0, 0.05, 0.56 if k else 0.05, 0.05 if k else 0.56, 0.03, steel)
    for x, y in ((-0.26, 0), (0.26, 0), (0, -0.26), (0, 0.26)):
        s.ball(x, y, 0, 0.028, 0.05, steel)
    s.cylinder(0, 0, 0.08, 0.03, 0.34, steel)
    s.box(0, 0, 0.42, 0.47, 0.46, 0.08, cloth)
    s.box(0, 0.22, 0.5, 0.06, 0.03, 0.14, steel)
    s.box(0, 0.22, 0.62, 0.44, 0.06, 0.46, cloth)
    return s


def stool(rng: Rng) -> Shape:
    s, finish = Shape(), wood(rng)
    height = rng.uniform(0.45, 0.6)
    s.legs(0.26, 0.26, height - 0.035, 0.035, finish)
    s.cylinder(0, 0, height - 0.035, 0.19, 0.035, finish)
    return s


def ottoman(rng: Rng) -> Shape:
    s, cloth = Shape(), fabric(rng)
    radius = rng.uniform(0.24, 0.32)
    s.turned(
        0, 0, [(0, 0), (radius * 0.92, 0), (radius, 0.1), (radius, 0.3), (radius * 0.9, 0.38), (0, 0.4)], cloth, 28
    )
    return s


def bench(rng: Rng) -> Shape:
    s, finish = Shape(), wood(rng)
    width = rng.uniform(1.0, 1.3)
    s.box(0, 0, 0.41, width, 0.36, 0.04, finish)
    for side in (-1, 1):
        s.box(side * (width / 2 - 0.08), 0, 0, 0.05, 0.34, 0.41, finish)
    s.support(-width / 2, width / 2, -0.18, 0.18, 0.45, 0.6)
    return s


def refrigerator(rng: Rng) -> Shape:
    s = Shape()
    finish = paint(rng, (0.82, 0.83, 0.84))
    height = rng.uniform(1.5, 1.8)
    s.box(0, 0.02, 0, 0.6, 0.58, height, finish)
    for z, h in ((0.05, height * 0.6), (0.06 + height * 0.6, height * 0.4 - 0.07)):
        door = s.box(0, -0.29, z, 0.59, 0.04, h, finish)
        s.host(door, "-y", "front")
        s.box(-0.25, -0.325, z + h / 2 - 0.12, 0.02, 0.03, 0.24, metal(rng))
    return s


def washing_machine(rng: Rng) -> Shape:
    s = Shape()
    s.box(0, 0.01, 0, 0.6, 0.54, 0.85, paint(rng, (0.85, 0.85, 0.86)))
    s.box(0, -0.265, 0.73, 0.58, 0.01, 0.1, of(rng, Pattern.SCREEN, (0.3, 0.5, 0.7), (0.7, 0.72, 0.75)))
    steps = [(0.23, 0.5), (0.2, 0.35)]
    for k, (width, height) in enumerate(steps):  # the round door, as two crossed plates in front
        s.box(0, -0.275 - 0.008 * k, 0.4 - height / 2, width * 1.6, 0.02, height, metal(rng))
    s.support(-0.28, 0.28, -0.24, 0.27, 0.85, 0.6)
    return s


def radiator(rng: Rng) -> Shape:
    s, finish = Shape(), paint(rng, (0.86, 0.86, 0.84))
    width = rng.uniform(0.6, 1.1)
    count = int(width / 0.08)
    for k in range(count):
        s.box((k + 0.5) * width / count - width / 2, 0, 0, width / count - 0.02, 0.08, 0.55, finish)
    for z in (0.04, 0.48):
        s.box(0, 0, z, width, 0.03, 0.03, finish)
    return s


def door(rng: Rng) -> Shape:
    s, finish = Shape(), wood(rng)
    panel = s.box(0, 0.005, 0, 0.86, 0.04, 2.03, of(rng, Pattern.DOORS, finish.first, finish.second))
    s.host(panel, "-y", "front")
    for side in (-1, 1):
        s.box(side * 0.46, 0, 0, 0.06, 0.05, 2.09, finish)
    s.box(0, 0, 2.03, 0.86, 0.05, 0.06, finish)
    s.box(0.36, -0.03, 1.0, 0.12, 0.025, 0.025, metal(rng))
    return s


def curtain(rng: Rng) -> Shape:
    s, cloth = Shape(), fabric(rng)
    count = int(rng.integers(7, 11))
    for k in range(count):
        s.turned((k - (count - 1) / 2) * 0.1, 0, [(0, 0), (0.05, 0), (0.045, 2.0), (0, 2.0)], cloth, 12)
    s.box(0, 0, 2.0, count * 0.1 + 0.1, 0.03, 0.03, metal(rng))
    return s


def wall_shelf(rng: Rng) -> Shape:
    s, finish = Shape(), wood(rng)
    width = rng.uniform(0.6, 1.0)
    s.box(0, 0, 0.08, width, 0.24, 0.025, finish)
    for side in (-1, 1):
        s.box(side * (width / 2 - 0.1), 0.08, 0, 0.02, 0.08, 0.08, finish)
    s.support(-width / 2, width / 2, -0.12, 0.12, 0.105, 0.35)
    return s
