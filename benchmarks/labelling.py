"""Lifting: observations a second, against a loop over observations in plain Python on a part of them."""

import numpy as np

from benchmarks.measure import Row, timed
from benchmarks.wavy import wavy_scene
from ovseg3r_model.lifting import lift
from ovseg3r_model.records import Correspondence, Images, UInt32


def lifting_rows(quick: bool) -> list[Row]:
    points, views, runs = (20_000, 16, 1) if quick else (1_000_000, 100, 5)
    scene = wavy_scene(points, views)
    correspondence = scene.reconstruction.correspondence
    seconds = timed(lambda: lift(scene.mask_ids, correspondence), runs)
    part = min(len(correspondence), 100_000)
    plain = timed(lambda: lift_by_loop(scene.mask_ids, correspondence, part), runs)
    return [
        Row(
            "lifting", "lift", f"{len(correspondence) / 1e6:.2f}M observations, {views} maps 640x480", seconds, runs,
            len(correspondence) / seconds / 1e6, "Mobs/s", f"plain Python loop on {part / 1e3:.0f}k of them",
            part / plain / 1e6,
        )
    ]  # fmt: skip


def lift_by_loop(mask_ids: Images, correspondence: Correspondence, count: int) -> UInt32:
    """The first ``count`` observations, one by one."""
    out = np.zeros(count, np.uint32)
    for m in range(count):
        x, y = correspondence.pixel[m]
        out[m] = mask_ids[correspondence.view[m]][y, x]
    return out
