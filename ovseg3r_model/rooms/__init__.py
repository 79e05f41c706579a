"""Synthetic indoor rooms with exact ground truth, from a seed: for tests, demonstrations and benchmarks without any
data set.
"""

from ovseg3r_model.rooms.catalogue import FLAT_KINDS, SOLID_KINDS, FlatKind, SolidKind
from ovseg3r_model.rooms.layouts import Layout
from ovseg3r_model.rooms.mask_errors import corrupt
from ovseg3r_model.rooms.render import DEFAULT_INTRINSICS, DEFAULT_SIZE, RenderedView, default_intrinsics, render
from ovseg3r_model.rooms.room import Room, RoomInstance, make_room
from ovseg3r_model.rooms.walk import walk
from ovseg3r_model.rooms.writers import RoomFiles, write_room

__all__ = [
    "DEFAULT_INTRINSICS",
    "DEFAULT_SIZE",
    "FLAT_KINDS",
    "SOLID_KINDS",
    "FlatKind",
    "Layout",
    "RenderedView",
    "Room",
    "RoomFiles",
    "RoomInstance",
    "SolidKind",
    "corrupt",
    "default_intrinsics",
    "make_room",
    "render",
    "walk",
    "write_room",
]
