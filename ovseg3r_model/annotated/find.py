"""What kind of scenes with ground truth lie at a path."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ovseg3r_model.annotated import scannet200
from ovseg3r_model.annotated.rooms import is_room
from ovseg3r_model.errors import InputError
from ovseg3r_model.sources import scene_id_of
from ovseg3r_model.sources.files import natural_key

AnnotatedKind = Literal["scannet200", "room"]
AnnotatedFormat = Literal["auto", "scannet200", "room"]


@dataclass(frozen=True)
class AnnotatedSource:
    """One scene: a room's folder, or the folder or mesh of a scan."""

    kind: AnnotatedKind
    path: Path

    @property
    def scene_id(self) -> str:
        """From its name."""
        if self.path.is_file():
            return scene_id_of(self.path.with_name(f"{scannet200.scene_of(self.path)}.ply"))
        return scene_id_of(self.path)


def find_annotated(path: Path, wanted: AnnotatedFormat = "auto") -> list[AnnotatedSource]:
    """The scenes at ``path``: itself, or those that it holds.

    Raises:
        InputError: there is none of the wanted kind.
    """
    rooms = [] if wanted == "scannet200" else [AnnotatedSource("room", folder) for folder in _rooms(path)]
    if rooms or wanted == "room":
        if not rooms:
            raise InputError(f"{path}: is no folder that a synthetic room was written to, and holds none.")
        return rooms
    return [AnnotatedSource("scannet200", scan) for scan in scannet200.find_scenes(path)]


def _rooms(path: Path) -> list[Path]:
    if is_room(path):
        return [path]
    folders = [p for p in path.iterdir() if is_room(p)] if path.is_dir() else []
    return sorted(folders, key=lambda p: natural_key(p.name))
