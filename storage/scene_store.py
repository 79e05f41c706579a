"""Published scenes: immutable, validated before a byte is written, complete once their marker is there.

    scenes/<scene_id>/<digest>/<attempt>/scene.zarr/...   Zarr v3, the arrays of ``storage.schema``
    scenes/<scene_id>/<digest>/<attempt>/pictures/*.png
    scenes/<scene_id>/<digest>/commit.json                written last, put-if-absent: names the attempt, digest of
    the content, bytes

As for stages, every writer has a random folder of its own: two writers of one digest never touch each other's
objects, and what a killed one leaves is neither in the way nor ever read. (A folder named by content would be shared
by both, and one could not clean it up without taking from the other.) What lies inside an attempt is the same byte
for byte on every run: no clock, no random, attributes sorted.

A scene is *listed* when its catalog row exists; order of writes: data, marker, row. A publish that was killed after
the marker finds the scene complete and only the row is added.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import (
    Correspondence,
    Images,
    Instances,
    LabelledScene,
    Points,
    Reconstruction,
    Reduction,
    SceneFeatures,
    SceneTruth,
    Views,
)
from storage.arrays import FrameWriter, StoredImages, create_array, open_array, read_arrays, write_arrays
from storage.commits import cleaned_up, commit_marker, read_marker
from storage.digests import canonical_json, plain_json
from storage.errors import SceneRefused
from storage.names import check_digest, check_name, check_scene_id
from storage.schema import MASKS, SCENE_ARRAYS, SCENE_ATTRIBUTES, SCHEMA_VERSION, arrays
from storage.store import Store
from storage.validation import validate_scene

SCENES = "scenes"


@dataclass(frozen=True)
class PublishedScene:
    """A complete scene. prefix: its attempt's folder; content: sha256 of all it holds; bytes: stored size."""

    url: str
    scene_id: str
    digest: str
    prefix: str
    content: str
    bytes: int

    @property
    def uri(self) -> str:
        """Where the Zarr group lies, for readers outside of this project."""
        return f"{self.url}/{self.prefix}/scene.zarr"


@dataclass(frozen=True)
class StoredScene:
    """A scene read back: arrays in memory, ``scene.mask_ids`` read frame by frame when asked for. attributes: all of
    the group's."""

    scene: LabelledScene
    attributes: dict[str, Any]
    published: PublishedScene


class SceneStore:
    """The published scenes of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def publish(
        self,
        scene: LabelledScene,
        scene_id: str,
        digest: str,
        attributes: Mapping[str, Any],
        pictures: Mapping[str, bytes],
    ) -> PublishedScene:
        """Validates, writes and commits the scene; one that is already complete under this digest is left as it is.

        digest: the publish stage's. attributes: finite JSON values beside those the scene gives
        (``schema.SCENE_ATTRIBUTES``); pictures: PNG bytes by file name. Raises SceneRefused with one sentence per
        broken rule, before anything is written; InputError for a bad id or a full store; ValueError or TypeError for
        attributes JSON cannot hold.
        """
        known = self.published(scene_id, digest)
        if known is not None:
            return known
        broken = validate_scene(scene)
        if broken:
            raise SceneRefused(scene_id, broken)
        attempt = secrets.token_hex(8)
        full = scene_attributes(scene, scene_id, digest, attributes)
        for name in pictures:
            check_name(name)
        prefix = f"{_folder(scene_id, digest)}/{attempt}"
        with cleaned_up(self.store, prefix):
            content = self.write(scene, full, pictures, prefix)
        return self.commit(scene_id, digest, attempt, content)

    def write(
        self, scene: LabelledScene, attributes: Mapping[str, Any], pictures: Mapping[str, bytes], prefix: str
    ) -> str:
        """Writes the data of one attempt, unseen by readers; the content digest. ``publish`` is what callers want."""
        content = _ContentDigest(attributes)
        group = self.store.create_group(f"{prefix}/scene.zarr", attributes)
        for spec, data in arrays(scene):
            content.array(spec.path, data)
        write_arrays(group, {spec.path: data for spec, data in arrays(scene)})
        self._write_masks(group, scene.mask_ids, content)
        for name in sorted(pictures):
            content.picture(name, pictures[name])
            self.store.put_if_absent(f"{prefix}/pictures/{name}", pictures[name])
        return content.hexdigest()

    def _write_masks(self, group: zarr.Group, masks: Images, content: "_ContentDigest") -> None:
        array = create_array(group, MASKS, _masks_shape(masks), np.uint32, "frames")
        content.header(MASKS, "<u4", array.shape)
        with FrameWriter(array) as writer:
            for view in range(len(masks)):
                frame = np.asarray(masks[view])
                content.data(frame)
                writer.append(frame)

    def commit(self, scene_id: str, digest: str, attempt: str, content: str) -> PublishedScene:
        """Makes a written attempt the scene; when another writer was faster, deletes this attempt and gives the
        other's."""
        folder = _folder(scene_id, digest)
        size = sum(entry.size for entry in self.store.list(f"{folder}/{attempt}"))
        marker = {"scene_id": scene_id, "digest": digest, "attempt": attempt, "content": content, "bytes": size}
        return self._published(commit_marker(self.store, folder, marker))

    def published(self, scene_id: str, digest: str) -> PublishedScene | None:
        """The complete scene, listed or not; None where there is none."""
        marker = read_marker(self.store, _folder(scene_id, digest))
        return None if marker is None else self._published(marker)

    def read(self, scene_id: str, digest: str) -> StoredScene:
        """The scene (take id and digest from its catalog row). Raises InputError where there is none or a newer
        schema's."""
        published = self._require(scene_id, digest)
        group = self.store.open_group(f"{published.prefix}/scene.zarr")
        attributes = dict(group.attrs.asdict())
        version = attributes["schema_version"]
        if version != SCHEMA_VERSION:
            raise InputError(
                f"scene {scene_id} has schema version {version}, this program reads {SCHEMA_VERSION};"
                " use the program that wrote it or publish the scene again."
            )
        return StoredScene(_read_scene(group, attributes), attributes, published)

    def pictures(self, scene_id: str, digest: str) -> dict[str, bytes]:
        """The scene's pictures by file name. Raises InputError where there is no such scene."""
        folder = f"{self._require(scene_id, digest).prefix}/pictures"
        return {entry.key[len(folder) + 1 :]: self.store.get(entry.key) or b"" for entry in self.store.list(folder)}

    def verify(self, scene_id: str, digest: str) -> list[str]:
        """Reads everything again; one sentence per fault (lost or changed objects, broken rules), empty when all is
        well."""
        try:
            stored = self.read(scene_id, digest)
            same = self._content_of(stored) == stored.published.content
        except (KeyError, RuntimeError, ValueError, OSError) as error:
            if isinstance(error, InputError):
                raise
            return [f"The content of scene {scene_id} cannot be read: {type(error).__name__}: {error}."]
        changed = [] if same else [f"The content of scene {scene_id} is not what was published."]
        return changed + validate_scene(stored.scene)

    def _content_of(self, stored: StoredScene) -> str:
        content = _ContentDigest(stored.attributes)
        for spec, array in arrays(stored.scene):
            content.array(spec.path, array)
        masks = stored.scene.mask_ids
        content.header(MASKS, "<u4", _masks_shape(masks))
        for view in range(len(masks)):
            content.data(masks[view])
        for name, data in sorted(self.pictures(stored.published.scene_id, stored.published.digest).items()):
            content.picture(name, data)
        return content.hexdigest()

    def _require(self, scene_id: str, digest: str) -> PublishedScene:
        published = self.published(scene_id, digest)
        if published is None:
            raise InputError(f"{self.store.url}: no scene {scene_id} with digest {digest[:16]}; see the catalog.")
        return published

    def _published(self, marker: Mapping[str, Any]) -> PublishedScene:
        scene_id, digest = str(marker["scene_id"]), str(marker["digest"])
        prefix = f"{_folder(scene_id, digest)}/{marker['attempt']}"
        return PublishedScene(self.store.url, scene_id, digest, prefix, str(marker["content"]), int(marker["bytes"]))


def scene_attributes(scene: LabelledScene, scene_id: str, digest: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The group's attributes, keys sorted. Raises ValueError when ``attributes`` holds a name the scene itself
    gives."""
    taken = sorted(set(attributes) & set(SCENE_ATTRIBUTES))
    if taken:
        raise ValueError(f"attributes {taken} are given by the scene itself")
    rec = scene.reconstruction
    own = {
        "annotation": scene.annotation,
        "digest": digest,
        "distortion": rec.distortion,
        "labels": list(scene.instances.label_names),
        "notes": list(rec.notes),
        "quality": dict(rec.quality),
        "scale_known": rec.scale_known,
        "scene_id": scene_id,
        "schema_version": SCHEMA_VERSION,
        "units": "metre" if rec.scale_known else "scene unit",
        "voxel_size": rec.voxel_size,
        "world_frame": rec.world_frame,
    }
    if scene.features is not None:
        own["feature_model"] = scene.features.model
    if scene.truth is not None:
        own["truth_names"] = list(scene.truth.names)
    plain: dict[str, Any] = plain_json({**attributes, **own})
    return plain


def _read_scene(group: zarr.Group, attributes: Mapping[str, Any]) -> LabelledScene:
    """The inverse of ``schema.SCENE_ARRAYS``."""
    a = read_arrays(group, (spec.path for spec in SCENE_ARRAYS))
    reconstruction = Reconstruction(
        points=Points(*(a[f"points/{name}"] for name in ("xyz", "rgb", "normal", "confidence"))),
        correspondence=Correspondence(*(a[f"correspondence/{name}"] for name in ("indptr", "view", "pixel"))),
        views=Views(*(a[f"views/{name}"] for name in ("intrinsics", "world_from_camera", "size", "frame", "time"))),
        scale_known=bool(attributes["scale_known"]),
        world_frame=str(attributes["world_frame"]),
        voxel_size=float(attributes["voxel_size"]),
        quality={str(name): float(value) for name, value in attributes["quality"].items()},
        notes=tuple(attributes["notes"]),
        distortion=float(attributes["distortion"]),
    )
    columns = (a[f"instances/{name}"] for name in ("view", "label", "score", "box", "position"))
    return LabelledScene(
        reconstruction=reconstruction,
        mask_ids=StoredImages(open_array(group, MASKS)),
        instances=Instances(tuple(attributes["labels"]), *columns),
        observation=a["labels/observation"],
        superpoint=a["superpoints/id"],
        features=_read_features(a, str(attributes.get("feature_model"))),
        truth=SceneTruth(a["truth/instance"], tuple(attributes["truth_names"])) if "truth/instance" in a else None,
        annotation=attributes["annotation"],
    )


def _masks_shape(masks: Images) -> tuple[int, int, int]:
    """(V,H,W); maps of one pixel where there is no view."""
    height, width = masks[0].shape if len(masks) else (1, 1)
    return len(masks), height, width


def _read_features(a: Mapping[str, NDArray[Any]], model: str) -> SceneFeatures | None:
    def reduction(kind: str) -> Reduction | None:
        return Reduction(a[f"{kind}_mean"], a[f"{kind}_basis"]) if f"{kind}_basis" in a else None

    points, objects = "features/points", "features/objects"
    if points not in a:
        return None
    return SceneFeatures(a[points], a[objects], model, reduction(points), reduction(objects))


class _ContentDigest:
    """sha256 over attributes, arrays and pictures in a fixed order; each piece is headed by its name and length."""

    def __init__(self, attributes: Mapping[str, Any]) -> None:
        self._hash = hashlib.sha256(canonical_json(dict(attributes)) + b"\n")

    def header(self, name: str, kind: str, shape: tuple[int, ...]) -> None:
        self._hash.update(canonical_json([name, kind, [int(extent) for extent in shape]]) + b"\n")

    def data(self, data: NDArray[Any]) -> None:
        if data.size:
            self._hash.update(np.ascontiguousarray(data).data.cast("B"))

    def array(self, path: str, data: NDArray[Any]) -> None:
        self.header(path, data.dtype.newbyteorder("<").str, data.shape)
        self.data(data)

    def picture(self, name: str, data: bytes) -> None:
        self.header(f"pictures/{name}", "png", (len(data),))
        self._hash.update(data)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _folder(scene_id: str, digest: str) -> str:
    return f"{SCENES}/{check_scene_id(scene_id)}/{check_digest(digest)}"
