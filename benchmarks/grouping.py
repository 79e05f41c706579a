"""kNN graph and IBSp: seconds at two sizes, and against the slow reference at a small one."""

import os

import numpy as np
from scipy.spatial import cKDTree

from benchmarks.measure import Row, timed, timed_in_turn
from benchmarks.wavy import wavy_scene
from ovseg3r_model.records import LabelledScene
from ovseg3r_model.settings import EdgeCut, SuperpointSettings
from ovseg3r_model.superpoints import geometry_superpoints, instance_superpoints, knn_edges
from ovseg3r_model.superpoints_reference import instance_superpoints_reference

RULES: tuple[EdgeCut, ...] = ("contested-last", "majority")


def superpoint_rows(quick: bool) -> list[Row]:
    sizes: list[tuple[int, int, float | None]] = [(150_000, 100, 0.25), (1_000_000, 100, 2.0)]
    if quick:
        sizes = [(5_000, 9, None), (20_000, 16, None)]
    rows = [row for size in sizes for row in _at(*size, runs=1 if quick else 3)]
    return [*rows, _beside_reference(100 if quick else 300)]


def _at(points: int, views: int, wanted: float | None, *, runs: int) -> list[Row]:
    scene = wavy_scene(points, views)
    cloud = scene.reconstruction.points
    settings = SuperpointSettings()
    calls = [
        lambda: knn_edges(cloud.xyz, settings.neighbours),
        lambda: cKDTree(cloud.xyz).query(cloud.xyz, settings.neighbours + 1, workers=-1),
        lambda: geometry_superpoints(cloud, settings),
        *(lambda rule=rule: _ibsp(scene, rule) for rule in RULES),
    ]
    graph, scipy, plain, *cut = timed_in_turn(calls, runs)
    million = len(cloud) / 1e6
    size = f"{len(cloud) / 1e3:.0f}k points, {len(scene.observation) / len(cloud):.1f} observations each, {views} views"
    unit = "Mpoints/s"
    rows = [
        Row(
            "superpoints", "kNN graph", size, graph, runs, million / graph, unit,
            f"scipy cKDTree({os.cpu_count()} workers), neighbours only", million / scipy,
        )
    ]  # fmt: skip
    return rows + [
        Row(
            "superpoints", f"kNN + IBSp, {rule}", size, seconds, runs, million / seconds, unit,
            "kNN + the same segmentation without any cut", million / plain, wanted,
        )
        for rule, seconds in zip(RULES, cut, strict=True)
    ]  # fmt: skip


def _ibsp(scene: LabelledScene, rule: EdgeCut) -> object:
    rec = scene.reconstruction
    return instance_superpoints(
        rec.points, rec.correspondence, scene.observation, rec.views, scene.mask_ids, SuperpointSettings(cut=rule)
    )


def _beside_reference(points: int) -> Row:
    """The readable reference takes all pairs of points: it can be compared only where there are few."""
    scene = wavy_scene(points, 4)
    rec, settings = scene.reconstruction, SuperpointSettings()
    edges = len(knn_edges(rec.points.xyz, settings.neighbours)) / 1e3
    fast = timed(lambda: _ibsp(scene, settings.cut), 5)
    slow = timed(
        lambda: instance_superpoints_reference(
            rec.points, rec.correspondence, scene.observation, rec.views, scene.mask_ids, settings
        ),
        1,
        warm=False,
    )
    return Row(
        "superpoints", f"kNN + IBSp, {settings.cut}", f"{len(rec.points)} points, {np.rint(edges * 1e3):.0f} edges",
        fast, 5, edges / fast, "kedges/s", "superpoints_reference.py, plain Python", edges / slow,
    )  # fmt: skip
