"""Small synthetic recordings for tests of the whole line."""

from pathlib import Path

from ovseg3r_model.rooms import Layout, Room, write_room

VOXEL = 0.05
"""The fusion grid that suits such a recording: some 10,000 points, a second's work."""


def write_small_room(room: Room, base: Path, layout: Layout) -> Path:
    """The folder of the recording; it is named room-<layout>, and masks.json lies beside it."""
    files = write_room(room, base / layout, layout, 12, 3, size=(160, 120), video=layout == "7scenes")
    return files.recording.rename(base / layout / f"room-{layout}")


def masks_of(recording: Path) -> str:
    """The COCO masks of a recording."""
    return str(recording.with_name("masks.json"))
