"""The weights that this version knows by name, each pinned to one commit of its repository on the model hub."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Family = Literal["grounding-dino", "mm-grounding-dino", "sam", "sam2", "sam3"]

APACHE = "Apache-2.0"
SAM_LICENCE = "SAM License, Meta's own terms"

DEFAULTS = ("grounding-dino-tiny", "sam-vit-base")
"""What the engine grounded-sam runs on unless told otherwise."""


@dataclass(frozen=True)
class KnownWeights:
    """Weights known by name.

    revision: the pinned commit, 40 hex digits; None where none is pinned: a fetch then takes the newest, and records
    its commit. gated: the hub gives them only to those who have accepted the terms. bytes: about what a fetch loads.
    sha256: of the files of that revision whose checksum is known beforehand, by name.
    """

    name: str
    family: Family
    hub_id: str
    revision: str | None
    licence: str
    bytes: int
    gated: bool = False
    sha256: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def purpose(self) -> str:
        """What they are for, in a few words."""
        return _PURPOSES[self.family]

    @property
    def page(self) -> str:
        """The model's page at the hub."""
        return f"https://huggingface.co/{self.hub_id}"


_PURPOSES: Mapping[str, str] = {
    "grounding-dino": "boxes from text",
    "mm-grounding-dino": "boxes from text",
    "sam": "masks from boxes",
    "sam2": "masks from boxes",
    "sam3": "masks from text",
}

KNOWN: tuple[KnownWeights, ...] = (
    KnownWeights(
        "grounding-dino-tiny",
        "grounding-dino",
        "IDEA-Research/grounding-dino-tiny",
        "a2bb814dd30d776dcf7e30523b00659f4f141c71",
        APACHE,
        690_000_000,
        sha256={"model.safetensors": "1a2412ef99bd74bcd3c2a246fa1e48581f8889a1300c9051974741314fc042f3"},
    ),
    KnownWeights(
        "grounding-dino-base",
        "grounding-dino",
        "IDEA-Research/grounding-dino-base",
        "12bdfa3120f3e7ec7b434d90674b3396eccf88eb",
        APACHE,
        930_000_000,
    ),
    KnownWeights(
        "mm-grounding-dino-tiny",
        "mm-grounding-dino",
        "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det",
        None,
        APACHE,
        693_000_000,
    ),
    KnownWeights(
        "mm-grounding-dino-base",
        "mm-grounding-dino",
        "openmmlab-community/mm_grounding_dino_base_all",
        None,
        APACHE,
        930_000_000,
    ),
    KnownWeights(
        "sam-vit-base",
        "sam",
        "facebook/sam-vit-base",
        "70c1a07f894ebb5b307fd9eaaee97b9dfc16068f",
        APACHE,
        375_000_000,
    ),
    KnownWeights("sam-vit-large", "sam", "facebook/sam-vit-large", None, APACHE, 1_250_000_000),
    KnownWeights("sam-vit-huge", "sam", "facebook/sam-vit-huge", None, APACHE, 2_560_000_000),
    KnownWeights("sam2.1-hiera-tiny", "sam2", "facebook/sam2.1-hiera-tiny", None, APACHE, 156_000_000),
    KnownWeights("sam2.1-hiera-small", "sam2", "facebook/sam2.1-hiera-small", None, APACHE, 184_000_000),
    KnownWeights("sam2.1-hiera-base-plus", "sam2", "facebook/sam2.1-hiera-base-plus", None, APACHE, 324_000_000),
    KnownWeights(
        "sam2.1-hiera-large",
        "sam2",
        "facebook/sam2.1-hiera-large",
        "665f8e2ad61cf5f53d65644ff27c8ee525124610",
        APACHE,
        898_000_000,
        sha256={"model.safetensors": "dc407dce21301fd94abb395c5099b4f2c455fdc8a8f261ac3d0ea6d4cd197230"},
    ),
    KnownWeights(
        "sam3",
        "sam3",
        "facebook/sam3",
        "3c879f39826c281e95690f02c7821c4de09afae7",
        SAM_LICENCE,
        3_440_000_000,
        gated=True,
    ),
)


def known(name: str) -> KnownWeights | None:
    """The weights of that name or hub id."""
    return next((each for each in KNOWN if name in (each.name, each.hub_id)), None)
