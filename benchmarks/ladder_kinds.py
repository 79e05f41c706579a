"""Which kinds of thing the ladder takes for base and which for novel."""

from ovseg3r_model.rooms import FLAT_KINDS, SOLID_KINDS

NOVEL_EVERY = 3
"""One kind in so many, by the alphabet, is never named in the scene-level data."""
KINDS = sorted(kind.name for kind in (*SOLID_KINDS, *FLAT_KINDS))
NOVEL = frozenset(KINDS[1::NOVEL_EVERY])
FLAT = frozenset(kind.name for kind in FLAT_KINDS)
