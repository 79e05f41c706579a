"""Masks from a COCO instances JSON.

Read are ``images`` (id, file_name, width, height), ``categories`` (id, name: free text) and ``annotations``
(image_id, category_id, segmentation, optional id and score, 1 where absent); for segmentations see
:mod:`.run_lengths`. Other fields, ``iscrowd`` and ``bbox`` among them, do not matter. Where masks overlap,
:func:`.id_maps.paint` says which one is on top.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Bool, ViewMasks
from ovseg3r_model.segmentation.id_maps import MAX_PIXELS, Name, paint, settle
from ovseg3r_model.segmentation.json_files import name_of, read_json
from ovseg3r_model.segmentation.run_lengths import run_lengths

_LISTS = ("images", "annotations", "categories")
_Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Annotation:
    where: str  # how messages call it
    name: Name
    segmentation: Any  # as in the file: decoded, and checked, view by view


@dataclass(frozen=True, slots=True)
class _Image:
    where: str
    file_name: str
    size: tuple[int, int]
    annotations: list[_Annotation]


class CocoMasks:
    """The file, parsed once; a view's masks are decoded when asked for. ``names``: the images' file names, index =
    entry.

    Raises:
        InputError: at construction, for whatever is wrong with ids, names, labels and scores anywhere in the file.
    """

    def __init__(self, path: Path) -> None:
        document = _document(path)
        images = _images(document["images"], path)
        _attach(document["annotations"], images, _labels(document["categories"], path), path)
        self._images = tuple(images.values())
        self.names = tuple(image.file_name for image in self._images)
        self.notes: tuple[str, ...] = ()

    def check(self, entry: int, size: tuple[int, int]) -> int:
        """The number of instances of one entry, after checking that it fits a picture of ``size`` (width, height).

        Raises:
            InputError: another size, or a segmentation that is none.
        """
        return len(self._decodable(entry, size))

    def read(self, entry: int, size: tuple[int, int], min_area: int) -> ViewMasks:
        """The masks of one entry; ids in the order of the file.

        Raises:
            InputError: as in ``check``.
        """
        runs = self._decodable(entry, size)
        names = [annotation.name for annotation in self._images[entry].annotations]

        def mask(k: int) -> Bool:
            return np.asarray(coco_mask.decode(runs[k]), np.bool_)

        areas = [int(coco_mask.area(run)) for run in runs]
        ids = paint(size[::-1], [name.score for name in names], areas, mask)
        return settle(ids, dict(enumerate(names, 1)), min_area)

    def _decodable(self, entry: int, size: tuple[int, int]) -> list[dict[str, Any]]:
        image = self._images[entry]
        if image.size != size:
            raise InputError(
                f"{image.where} is {image.size[0]} x {image.size[1]} pixels, but the frame {size[0]} x {size[1]}: "
                "masks must have the size of their frames."
            )
        return [run_lengths(a.segmentation, size, a.where) for a in image.annotations]


def _document(path: Path) -> dict[str, Any]:
    document = read_json(path)
    if isinstance(document, list):
        raise InputError(
            f"{path} is a bare list, as COCO results are, without the images and the category names: "
            "give the instances form, an object with images, annotations and categories."
        )
    if not isinstance(document, dict) or any(not isinstance(document.get(key), list) for key in _LISTS):
        raise InputError(
            f"{path} is not a COCO instances file: it must be an object with the lists {', '.join(_LISTS)}."
        )
    for key in _LISTS:
        if not all(isinstance(row, dict) for row in document[key]):
            raise InputError(f"{path}: every entry of {key} must be an object.")
    return document


def _images(rows: list[_Row], path: Path) -> dict[Hashable, _Image]:
    images: dict[Hashable, _Image] = {}
    for position, row in enumerate(rows, 1):
        where = f"{path}, image {row.get('file_name', f'number {position}')}"
        key = _id(row, "id", where)
        if key in images:
            raise InputError(f"{where}: the image id {key!r} is given twice.")
        if not isinstance(row.get("file_name"), str):
            raise InputError(f"{where}: it has no file_name to match it to a frame by.")
        width, height = row.get("width"), row.get("height")
        if type(width) is not int or type(height) is not int or width < 1 or height < 1:
            raise InputError(f"{where}: width and height must be whole numbers above 0, not {width!r} and {height!r}.")
        if width * height > MAX_PIXELS:
            raise InputError(f"{where}: {width} x {height} pixels are more than the 100 million that can be read.")
        images[key] = _Image(where, row["file_name"], (width, height), [])
    if not images:
        raise InputError(f"{path} lists no images.")
    return images


def _labels(rows: list[_Row], path: Path) -> dict[Hashable, str]:
    labels: dict[Hashable, str] = {}
    for position, row in enumerate(rows, 1):
        where = f"{path}, category {row.get('id', f'number {position}')}"
        key = _id(row, "id", where)
        if key in labels:
            raise InputError(f"{where}: the category id {key!r} is given twice.")
        labels[key] = name_of(row.get("name"), 1.0, where).label
    return labels


def _attach(rows: list[_Row], images: Mapping[Hashable, _Image], labels: Mapping[Hashable, str], path: Path) -> None:
    """Hands every annotation to its image, in the order of the file."""
    for position, row in enumerate(rows, 1):
        where = f"{path}, annotation {row.get('id', f'number {position}')}"
        image, category = _id(row, "image_id", where), _id(row, "category_id", where)
        if image not in images:
            raise InputError(f"{where}: there is no image with the id {image!r}.")
        if category not in labels:
            raise InputError(f"{where}: there is no category with the id {category!r}.")
        if "segmentation" not in row:
            raise InputError(f"{where}: it has no segmentation; a box alone is no mask.")
        name = name_of(labels[category], row.get("score", 1.0), where)
        images[image].annotations.append(_Annotation(where, name, row["segmentation"]))


def _id(row: _Row, key: str, where: str) -> Hashable:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InputError(f"{where}: {key} must be a whole number or a text, not {value!r}.")
    return value
