"""Which kinds of thing the ladder takes for base and which for novel."""

from ovseg3r_model.rooms import FLAT_KINDS, SOLID_KINDS

_NOVEL_FAMILIES = (
    ("alarm clock", "calendar", "clock"),
    ("backpack", "suitcase"),
    ("ball",),
    ("bench",),
    ("box", "tissue box"),
    ("curtain",),
    ("fan",),
    ("flower pot", "jar", "kettle", "pot", "potted plant", "vase"),
    ("map", "picture", "poster"),
    ("microwave",),
    ("radiator",),
    ("refrigerator",),
    ("rug",),
)
KINDS = sorted(kind.name for kind in (*SOLID_KINDS, *FLAT_KINDS))
NOVEL = frozenset(name for family in _NOVEL_FAMILIES for name in family)
"""One kind in three, never named in the scene-level data. Whole families: with a relative among the base kinds (coffee
table, table) a novel word is found without ever being learned, which would say nothing of the reconstructed data."""
RELATED = 0.6
"""Kinds are relatives when any two of their names are more similar than this (cosine of the packaged MiniLM)."""
FLAT = frozenset(kind.name for kind in FLAT_KINDS)
