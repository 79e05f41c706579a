"""The rules of the edge cut compared on rooms: what superpoints each gives, with perfect and with imperfect input."""

from dataclasses import asdict, dataclass
from typing import get_args

import numpy as np

from benchmarks.filming import Film, film, scene_unique
from ovseg3r_model.label_quality import superpoint_quality
from ovseg3r_model.lifting import lift
from ovseg3r_model.reconstruction.posed_rgbd import PosedRgbd
from ovseg3r_model.records import Int32
from ovseg3r_model.rooms import corrupt
from ovseg3r_model.settings import EdgeCut, MaskErrors, ReconstructSettings, SuperpointSettings
from ovseg3r_model.superpoints import geometry_superpoints, instance_superpoints, knn_edges

INPUTS = ("exact", "imperfect")
FIGURES = ("oracle_ap", "oracle_ap_flat", "purity", "boundary_recall", "superpoints")
GEOMETRY = "geometry only"


@dataclass(frozen=True)
class CutRow:
    """One rule on one kind of input: each figure's mean over the rooms; by_room: each room's own, by figure.

    input: "exact" is exact depth and true masks, "imperfect" the demo's depth noise and mask errors. oracle_ap and
    oracle_ap_flat: the best AP that any grouping of the superpoints could reach, over all instances and over the flat
    ones.
    """

    input: str
    rule: str
    oracle_ap: float
    oracle_ap_flat: float
    purity: float
    boundary_recall: float
    superpoints: float
    by_room: dict[str, list[float]]


def cut_rule_rows(quick: bool, errors: MaskErrors, depth_noise: float) -> list[CutRow]:
    seeds, views, size = ((0,), 8, (320, 240)) if quick else ((0, 1, 2), 60, (640, 480))
    rooms: dict[tuple[str, str], list[dict[str, float]]] = {}
    for seed in seeds:
        taken = film(seed, views, size, depth_noise)
        for kind in INPUTS:
            masks = MaskErrors.none() if kind == "exact" else errors
            for rule, figures in _score(taken, kind == "imperfect", masks, seed).items():
                rooms.setdefault((kind, rule), []).append(figures)
    return [_row(kind, rule, rooms[kind, rule]) for kind in INPUTS for rule in (GEOMETRY, *get_args(EdgeCut))]


def _score(taken: Film, noisy: bool, errors: MaskErrors, seed: int) -> dict[str, dict[str, float]]:
    """The figures of every rule, by rule."""
    rec = PosedRgbd(ReconstructSettings()).reconstruct(taken.recording(noisy))
    views = [corrupt(ids, taken.room.instances, errors, seed * 1_000_003 + v) for v, ids in enumerate(taken.ids)]
    masks, _ = scene_unique(views)
    observation = lift(masks, rec.correspondence)
    grouped: dict[str, Int32] = {GEOMETRY: geometry_superpoints(rec.points, SuperpointSettings())}
    for rule in get_args(EdgeCut):
        settings = SuperpointSettings(cut=rule)
        grouped[rule] = instance_superpoints(rec.points, rec.correspondence, observation, rec.views, masks, settings)
    truth = taken.room.label_points(rec.points.xyz)
    edges = knn_edges(rec.points.xyz, SuperpointSettings().neighbours)
    flat = [i.id for i in taken.room.instances if i.flat]
    return {rule: asdict(superpoint_quality(ids, truth, edges, flat)) for rule, ids in grouped.items()}


def _row(kind: str, rule: str, rooms: list[dict[str, float]]) -> CutRow:
    by_room = {name: [float(figures[name]) for figures in rooms] for name in FIGURES}
    return CutRow(kind, rule, **{name: float(np.mean(values)) for name, values in by_room.items()}, by_room=by_room)
