"""What a scene must satisfy to be published: schema first, then the relations between its arrays. Vectorised; masks
pass once."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ovseg3r_model.records import Correspondence, LabelledScene, Reconstruction, Views
from storage.digests import plain_json
from storage.schema import arrays, lengths

NORMAL_TOLERANCE = 5e-3  # float16 keeps a unit vector to about 1e-3
ROTATION_TOLERANCE = 1e-3  # poses read from text files of seven digits


def validate_scene(scene: LabelledScene) -> list[str]:
    """Every rule the scene breaks, one sentence each; empty when it may be published. Nothing is changed."""
    broken = list(_shapes(scene))
    if broken:
        return broken  # the rules below index by these shapes
    broken += _emptiness(scene)
    if broken:
        return broken
    rec = scene.reconstruction
    broken += _scalars(rec)
    broken += _points(rec)
    broken += _cameras(rec.views)
    broken += _correspondence(rec.correspondence, rec.views)
    broken += _superpoints(scene)
    broken += _truth(scene)
    broken += _instances(scene)
    broken += _features(scene)
    if not broken:  # observations are compared with masks through views and instances that are now known to be sound
        broken += _observations(scene)
        broken += _masks(scene)
    return broken


def _shapes(scene: LabelledScene) -> Iterator[str]:
    known = lengths(scene)
    for spec, array in arrays(scene):
        shape = tuple(known[extent] if isinstance(extent, str) else extent for extent in spec.shape)
        if array.dtype != np.dtype(spec.dtype):
            yield f"{spec.path} is {array.dtype}, not {spec.dtype}."
        elif array.shape != shape:
            yield f"{spec.path} has shape {array.shape}, not {shape}."
    if len(scene.mask_ids) != known["V"]:
        yield f"masks/ids has {len(scene.mask_ids)} maps for {known['V']} views."


def _emptiness(scene: LabelledScene) -> Iterator[str]:
    """What a scene cannot do without; one with a scene-level annotation needs no views and nothing seen in them."""
    known = lengths(scene)
    if known["N"] == 0:
        yield "The scene has no points: nothing was reconstructed."
    if scene.annotation == "scene":
        yield from _scene_annotation(scene)
    elif scene.annotation == "views":
        for letter, noun in (("M", "observations"), ("V", "views")):
            if known[letter] == 0:
                yield f"The scene has no {noun}: nothing was reconstructed."
        if known["O"] == 0:
            yield "The scene has no instances: it is empty of labels, so nobody could learn from it."
    else:
        yield f"The annotation is {scene.annotation!r}, neither 'views' nor 'scene'."
    if known["V"] == 0 and known["O"] > 0:
        yield f"The scene has {known['O']} 2D instances, but no views that they could be in."


def _scene_annotation(scene: LabelledScene) -> Iterator[str]:
    if scene.truth is None:
        yield "The annotation is the scene's truth, but the scene has none."
    elif not scene.truth.instance.any():
        yield "truth/instance marks no point: the scene is empty of labels, so nobody could learn from it."


def _scalars(rec: Reconstruction) -> Iterator[str]:
    if not (np.isfinite(rec.voxel_size) and rec.voxel_size > 0):
        yield f"The voxel size is {rec.voxel_size}, not a positive length."
    try:
        plain_json(rec.quality)
    except (TypeError, ValueError) as error:
        yield f"The quality figures cannot be stored: {error}."


def _points(rec: Reconstruction) -> Iterator[str]:
    points = rec.points
    if bad := _count(~np.isfinite(points.xyz).all(axis=1)):
        yield f"points/xyz is not finite at {bad} points."
    normal = points.normal.astype(np.float32)
    length = np.sqrt(np.einsum("ij,ij->i", normal, normal))
    if bad := _count(~(np.abs(length - 1) <= NORMAL_TOLERANCE)):
        yield f"points/normal has no unit length at {bad} points."
    if bad := _count(~((points.confidence > 0) & (points.confidence <= 1))):
        yield f"points/confidence is outside (0, 1] at {bad} points."


def _cameras(views: Views) -> Iterator[str]:
    k, pose = views.intrinsics, views.world_from_camera
    focal = (k[:, 0, 0] > 0) & (k[:, 1, 1] > 0)
    pinhole = focal & np.isfinite(k).all(axis=(1, 2)) & (k[:, 2] == (0, 0, 1)).all(axis=1)
    if bad := _count(~pinhole):
        yield f"views/intrinsics is no pinhole matrix in {bad} views."
    finite = np.isfinite(pose).all(axis=(1, 2))
    rotation = np.where(np.asarray(finite)[:, None, None], pose[:, :3, :3], np.nan)
    square = np.abs(rotation.transpose(0, 2, 1) @ rotation - np.eye(3)).max(axis=(1, 2))
    proper = (square <= ROTATION_TOLERANCE) & (np.linalg.det(np.nan_to_num(rotation)) > 0)
    if bad := _count(~(proper & (pose[:, 3] == (0, 0, 0, 1)).all(axis=1))):
        yield f"views/world_from_camera is no proper rotation and translation in {bad} views."
    if bad := _count((views.size <= 0).any(axis=1)):
        yield f"views/size is not positive in {bad} views."
    if bad := _count(views.frame < 0):
        yield f"views/frame is negative in {bad} views."
    if bad := _count(np.isinf(views.time)):
        yield f"views/time is infinite in {bad} views."


def csr_violations(corr: Correspondence, views: int) -> Iterator[str]:
    """The CSR rules alone: indptr from 0 to M without a step back, views known and strictly increasing inside a
    point."""
    indptr, total = corr.indptr, len(corr)
    if indptr[0] != 0 or indptr[-1] != total:
        yield f"correspondence/indptr runs from {indptr[0]} to {indptr[-1]}, not from 0 to {total}."
        return
    if bad := _count(np.diff(indptr) < 0):
        yield f"correspondence/indptr steps back {bad} times."
        return
    if bad := _count(corr.view >= views):
        yield f"correspondence/view names an unknown view in {bad} observations."
    rises = np.empty(total, dtype=np.bool_)
    np.greater(corr.view[1:], corr.view[:-1], out=rises[1:])
    rises[indptr[:-1][indptr[:-1] < total]] = True  # the first observation of a point follows nothing
    if bad := _count(~rises):
        yield f"correspondence/view does not strictly increase inside a point at {bad} observations."


def _correspondence(corr: Correspondence, views: Views) -> Iterator[str]:
    broken = list(csr_violations(corr, len(views)))
    yield from broken
    if broken:
        return
    width, height = views.size[:, 0][corr.view], views.size[:, 1][corr.view]
    if bad := _count((corr.pixel[:, 0] >= width) | (corr.pixel[:, 1] >= height)):
        yield f"correspondence/pixel lies outside the picture in {bad} observations."


def _superpoints(scene: LabelledScene) -> Iterator[str]:
    ids = scene.superpoint
    if ids.min() < 0 or ids.max() >= len(ids):
        yield f"superpoints/id reaches from {ids.min()} to {ids.max()}, not from 0 without gaps."
    elif gaps := _count(np.bincount(ids) == 0):
        yield f"superpoints/id leaves out {gaps} ids between 0 and {ids.max()}."


def _truth(scene: LabelledScene) -> Iterator[str]:
    if scene.truth is None:
        return
    ids, names = scene.truth.instance, scene.truth.names
    if not names:
        yield "attrs.truth_names is empty: a truth names one instance or more."
    if bad := sum(1 for name in names if not name.strip()):
        yield f"attrs.truth_names holds {bad} empty texts."
    if bad := _count((ids < 0) | (ids > len(names))):
        yield f"truth/instance is none of the {len(names)} instances' ids at {bad} points."


def _instances(scene: LabelledScene) -> Iterator[str]:
    rows, views = scene.instances, scene.reconstruction.views
    known = rows.view < len(views)
    if bad := _count(~known):
        yield f"instances/view names an unknown view in {bad} instances."
    if bad := _count((rows.label < 0) | (rows.label >= len(rows.label_names))):
        yield f"instances/label points outside the {len(rows.label_names)} label names in {bad} instances."
    if bad := sum(1 for name in rows.label_names if not name.strip()):
        yield f"attrs.labels holds {bad} empty texts."
    if len(set(rows.label_names)) < len(rows.label_names):
        yield "attrs.labels holds a text twice."
    if bad := _count(~((rows.score >= 0) & (rows.score <= 1))):
        yield f"instances/score is outside [0, 1] in {bad} instances."
    size = views.size[np.where(known, rows.view, 0)]
    x0, y0, x1, y1 = rows.box.T
    inside = (x0 <= x1) & (y0 <= y1) & (x1 < size[:, 0]) & (y1 < size[:, 1])
    if bad := _count(~inside & known):
        yield f"instances/box is turned over or leaves the picture in {bad} instances."
    finite = np.isfinite(rows.position).all(axis=1)
    if bad := _count(~(finite | np.isnan(rows.position).all(axis=1))):
        yield f"instances/position is neither a place nor nan in {bad} instances."


def _features(scene: LabelledScene) -> Iterator[str]:
    for spec, array in arrays(scene):
        if spec.path.startswith("features/") and (bad := _count(~np.isfinite(array))):
            yield f"{spec.path} is not finite in {bad} entries."


def _observations(scene: LabelledScene) -> Iterator[str]:
    ids, view = scene.observation, scene.reconstruction.correspondence.view
    if bad := _count(ids > len(scene.instances)):
        yield f"labels/observation names an unknown instance in {bad} observations."
    elif bad := _count(_owner(scene)[ids] != view, ids != 0):
        yield f"labels/observation names an instance of another view in {bad} observations."


def _masks(scene: LabelledScene) -> Iterator[str]:
    """Shapes, ids, and that every observation carries the id under its pixel (METHOD 1.3)."""
    corr, size, owner = scene.reconstruction.correspondence, scene.reconstruction.views.size, _owner(scene)
    if len(size) == 0:
        return
    order = np.argsort(corr.view, kind="stable")
    bounds = np.searchsorted(corr.view[order], np.arange(len(size) + 1))
    shape = (int(size[0, 1]), int(size[0, 0]))
    strangers = astray = 0
    for view in range(len(size)):
        ids = np.asarray(scene.mask_ids[view])
        if ids.dtype != np.uint32 or ids.shape != shape or tuple(size[view, ::-1]) != shape:
            yield f"masks/ids of view {view} is {ids.shape} {ids.dtype}, not {shape} uint32: all views have one size."
            return
        if ids.max() >= len(owner) or _count(owner[ids] != view, ids != 0):
            strangers += 1
        rows = order[bounds[view] : bounds[view + 1]]
        x, y = corr.pixel[rows].T
        astray += _count(scene.observation[rows] != ids[y, x])
    if strangers:
        yield f"masks/ids holds unknown ids or ids of other views in {strangers} views."
    if astray:
        yield f"labels/observation differs from the id under its pixel in {astray} observations."


def _owner(scene: LabelledScene) -> NDArray[np.uint16]:
    """(O+1,): the view of each instance id; id 0 has none, its entry means nothing."""
    return np.concatenate([np.zeros(1, dtype=np.uint16), scene.instances.view])


def _count(bad: Any, among: Any = True) -> int:
    """How many entries of the boolean array ``bad`` are set, of those in ``among``."""
    return int(np.count_nonzero(bad if among is True else bad & among))
