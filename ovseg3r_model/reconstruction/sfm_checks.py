"""Why a video cannot be reconstructed, said with numbers and with what to do about it."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from ovseg3r_model.errors import InputError
from ovseg3r_model.reconstruction.sparse import SparseModel
from ovseg3r_model.records import Int64, Recording

MIN_KEYFRAMES = 8
MIN_FEATURES = 100
"""A keyframe with fewer is one of a bare wall, of the dark, or of a blur."""

SURE_INLIERS = 30
"""Matches that agree on one epipolar geometry; below it, chance and repeated patterns reach."""

TURNED_SHARE = 0.6
"""Pairs that a homography explains: where no model came of them, more say why. Alone they prove nothing: walks through
the synthetic rooms have up to all of them and are reconstructed well.
"""

MIN_PARALLAX = 0.03
"""Spread of the camera's positions over the median depth; a camera that only turns has less than this of noise."""

SECOND_PLACE = 0.15
"""A separate part of that share of the keyframes is another place, not a few lost keyframes."""


@dataclass(frozen=True)
class MatchGraph:
    """Verified pairs of ``count`` keyframes: pairs (N,2) int64, inliers (N,) int64 matches each; turned: the share of
    the pairs explained by a homography (a pure rotation, or one plane).
    """

    count: int
    pairs: Int64
    inliers: Int64
    turned: float

    def parts(self) -> list[Int64]:
        """The keyframes that sure matches connect, largest part first."""
        sure = self.pairs[self.inliers >= SURE_INLIERS]
        edges = coo_matrix((np.ones(len(sure)), (sure[:, 0], sure[:, 1])), shape=(self.count, self.count))
        n, label = connected_components(edges, directed=False)
        parts = [np.flatnonzero(label == k).astype(np.int64) for k in range(n)]
        return sorted(parts, key=lambda p: (-len(p), int(p[0])))


def check_count(count: int) -> None:
    """Raises InputError for a recording of too few keyframes."""
    if count < MIN_KEYFRAMES:
        raise InputError(
            f"The source has {count} keyframe{'s' if count != 1 else ''}, and a reconstruction from colour alone needs "
            f"at least {MIN_KEYFRAMES}; film longer while walking, or raise ingest.max_views."
        )


def check_features(recording: Recording, features: Int64, min_share: float) -> None:
    """Raises InputError when too few keyframes have texture; features (F,) per keyframe."""
    poor = features < MIN_FEATURES
    if 1 - poor.mean() < min_share:
        raise InputError(
            f"{int(poor.sum())} of {len(features)} keyframes show hardly any texture (median {np.median(features):.0f} "
            f"features a picture, {MIN_FEATURES} are needed): a bare wall, the dark or strong blur; film more of the "
            "room at once, slowly and with the lights on."
        )


def check_matches(recording: Recording, graph: MatchGraph, min_share: float) -> None:
    """Raises InputError when the matches alone say that there is no one place seen from several sides."""
    parts = graph.parts()
    if len(parts) > 1 and len(parts[1]) >= max(4, SECOND_PLACE * graph.count):
        raise _cut(recording, [p for p in parts if len(p) >= max(4, SECOND_PLACE * graph.count)])
    if len(parts[0]) < min_share * graph.count:
        raise InputError(
            f"Only {len(parts[0])} of {graph.count} keyframes match one another: the camera moved too far between "
            "them, or most are blurred; film slower, or raise ingest.max_views to take more keyframes."
        )


def check_model(
    recording: Recording, model: SparseModel, graph: MatchGraph, others: list[Int64], min_share: float
) -> SparseModel:
    """The model with its notes, or InputError when it is a fragment or has no parallax; others: the keyframes (n,) of
    the other models, which do not fit into it.
    """
    count, registered = len(recording), set(model.registered.tolist())
    foreign = [o for o in (np.array(sorted(set(p.tolist()) - registered), np.int64) for p in others) if len(o)]
    large = [o for o in foreign if len(o) >= max(4, SECOND_PLACE * count)]
    share = len(registered) / count
    parallax = _parallax(model)
    if parallax < MIN_PARALLAX:
        raise _turned(f"its positions spread over only {100 * parallax:.1f} % of the distance to what it sees")
    if large:
        raise _cut(recording, [model.registered, *sorted(large, key=lambda p: -len(p))])
    if share < min_share:
        raise InputError(
            f"Only {len(registered)} of {count} keyframes ({100 * share:.0f} %) could be placed in one model "
            f"({_ranges(recording, model.registered)}), less than --min-registered {min_share:g}; film slower and with "
            "more overlap, cut the parts without texture, or lower --min-registered to take this fragment."
        )
    notes = list(model.notes)
    if len(registered) < count:
        lost = np.array(sorted(set(range(count)) - registered), np.int64)
        notes.append(
            f"{len(registered)} of {count} keyframes have a camera; the others are left out: "
            f"{_ranges(recording, lost)}."
        )
    quality = {**model.quality, "parallax": round(parallax, 4), "turned_share": round(graph.turned, 4)}
    return replace(model, notes=tuple(notes), quality=quality)


def no_model(recording: Recording, graph: MatchGraph) -> InputError:
    """The reason when matches were there and no model came of them."""
    if graph.turned >= TURNED_SHARE:
        return _turned(f"{100 * graph.turned:.0f} % of the matching pairs differ by no more than a turn or one plane")
    return InputError(
        f"No two of the {graph.count} keyframes see enough of the same things from far enough apart to start a "
        f"reconstruction ({len(graph.pairs)} pairs match, {np.median(graph.inliers):.0f} matches at the median); film "
        "slower, step sideways while filming, and keep the lights on."
    )


def _turned(evidence: str) -> InputError:
    return InputError(
        f"The camera only turns, or looks at one flat wall: {evidence}, so there is no parallax to measure depth by; "
        "walk while filming instead of turning on the spot."
    )


def _cut(recording: Recording, parts: list[Int64]) -> InputError:
    ordered = sorted(parts, key=lambda p: int(p[0]))
    described = "; ".join(f"{len(p)} keyframes in {_ranges(recording, p)}" for p in ordered)
    return InputError(
        f"The video falls into {len(parts)} parts that nothing connects ({described}): a cut between two places, or "
        "keyframes too far apart; give each part as a source of its own, or raise ingest.max_views."
    )


def _parallax(model: SparseModel) -> float:
    centers = model.views.world_from_camera[:, :3, 3]
    spread = float(np.sqrt(((centers - np.median(centers, axis=0)) ** 2).sum(axis=1).mean()))
    ray = model.xyz[model.point()] - centers[model.view]
    depth = np.einsum("tk,tk->t", ray, model.views.world_from_camera[model.view, :3, 2])
    return spread / float(np.median(depth)) if len(depth) and np.median(depth) > 0 else 0.0


def _ranges(recording: Recording, index: Int64, most: int = 4) -> str:
    """Keyframes in words: by time where the source has a clock, else by name."""
    runs = np.split(index, np.flatnonzero(np.diff(index) > 1) + 1)
    words = []
    for run in sorted(sorted(runs, key=len, reverse=True)[:most], key=lambda r: int(r[0])):
        a, b = int(run[0]), int(run[-1])
        if np.isfinite(recording.time[[a, b]]).all():
            words.append(
                f"{recording.time[a]:.1f}-{recording.time[b]:.1f} s" if b > a else f"{recording.time[a]:.1f} s"
            )
        else:
            words.append(f"{recording.names[a]} to {recording.names[b]}" if b > a else recording.names[a])
    return ", ".join(words) + (f" and {len(runs) - most} more" if len(runs) > most else "")
