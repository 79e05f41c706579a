"""The weights that this version knows by name, each pinned to one commit of its repository on the model hub."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Family = Literal["grounding-dino", "mm-grounding-dino", "sam", "sam2", "sam3", "clip"]

APACHE = "Apache-2.0"
MIT = "MIT"
SAM_LICENCE = "SAM License, Meta's own terms"


@dataclass(frozen=True)
class KnownWeights:
    """Weights known by name.

    revision: the pinned commit, 40 hex digits; None where none is pinned: a fetch then takes the newest, and records
    its commit. gated: the hub gives them only to those who have accepted the terms. bytes: about what a fetch loads.
    sha256: of the files of that revision whose checksum is known beforehand, by name. note: what to know before use.
    """

    name: str
    family: Family
    hub_id: str
    revision: str | None
    licence: str
    bytes: int
    gated: bool = False
    sha256: Mapping[str, str] = field(default_factory=dict, hash=False)
    note: str = ""

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
    "clip": "text encoder",
}


def _weights_sha256(digest: str) -> Mapping[str, str]:
    return {"model.safetensors": digest}


KNOWN: tuple[KnownWeights, ...] = (
    KnownWeights(
        "grounding-dino-tiny",
        "grounding-dino",
        "IDEA-Research/grounding-dino-tiny",
        "a2bb814dd30d776dcf7e30523b00659f4f141c71",
        APACHE,
        690_300_000,
        sha256=_weights_sha256("1a2412ef99bd74bcd3c2a246fa1e48581f8889a1300c9051974741314fc042f3"),
    ),
    KnownWeights(
        "grounding-dino-base",
        "grounding-dino",
        "IDEA-Research/grounding-dino-base",
        "12bdfa3120f3e7ec7b434d90674b3396eccf88eb",
        APACHE,
        934_400_000,
        sha256=_weights_sha256("5548f844c928c4b6f411fa8cbcc2bfa8dbbba437cb1d513975519f93c2a9ed21"),
    ),
    KnownWeights(
        "mm-grounding-dino-tiny",
        "mm-grounding-dino",
        "openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_v3det",
        None,
        APACHE,
        693_000_000,
        note="others report that its boxes collapse to lines; look at what it finds, or take mm-grounding-dino-base",
    ),
    KnownWeights(
        "mm-grounding-dino-base",
        "mm-grounding-dino",
        "openmmlab-community/mm_grounding_dino_base_all",
        None,
        APACHE,
        937_000_000,
    ),
    KnownWeights(
        "sam-vit-base",
        "sam",
        "facebook/sam-vit-base",
        "70c1a07f894ebb5b307fd9eaaee97b9dfc16068f",
        APACHE,
        375_000_000,
        sha256=_weights_sha256("892c410e496344e527255ccdcb2cb7244a609acb5389c7c4fdba1288f861c579"),
    ),
    KnownWeights(
        "sam-vit-large",
        "sam",
        "facebook/sam-vit-large",
        "6851e0441005b0fb96f2cc4dfac472f3d1b14af1",
        APACHE,
        1_249_400_000,
        sha256=_weights_sha256("a57e1b13cd1545938dfcbc9fb26df7f60de6650237a9383382a874a623564b81"),
    ),
    KnownWeights(
        "sam-vit-huge",
        "sam",
        "facebook/sam-vit-huge",
        "87aecf0df4ce6b30cd7de76e87673c49644bdf67",
        APACHE,
        2_564_400_000,
        sha256=_weights_sha256("edfb0462392541fca9af44ff039bfb32dbd0c939997f3abb77a26e23af7afd7c"),
    ),
    KnownWeights(
        "sam2.1-hiera-tiny",
        "sam2",
        "facebook/sam2.1-hiera-tiny",
        "de431c4043854a71d8101e17995dfe596bf101a5",
        APACHE,
        155_900_000,
        sha256=_weights_sha256("48c14467e5cf9e51870511feb72c89688e82dd74523142c0538b663e193ac2a7"),
    ),
    KnownWeights(
        "sam2.1-hiera-small",
        "sam2",
        "facebook/sam2.1-hiera-small",
        "ee5bba1d82bb8749febdf90f45e84b687142ba03",
        APACHE,
        184_300_000,
        sha256=_weights_sha256("0a4067b11ce1e23d5229203f11c718a823060d15a4b23fa2372a7d4b77cbbc60"),
    ),
    KnownWeights(
        "sam2.1-hiera-base-plus",
        "sam2",
        "facebook/sam2.1-hiera-base-plus",
        "b7320756a13354e7530a63935656d35b2f91a290",
        APACHE,
        323_500_000,
        sha256=_weights_sha256("2012733a0de5d03efd1bba550a2847c4551be9ef2e0d497c83074df66189f780"),
    ),
    KnownWeights(
        "sam2.1-hiera-large",
        "sam2",
        "facebook/sam2.1-hiera-large",
        "665f8e2ad61cf5f53d65644ff27c8ee525124610",
        APACHE,
        897_900_000,
        sha256=_weights_sha256("dc407dce21301fd94abb395c5099b4f2c455fdc8a8f261ac3d0ea6d4cd197230"),
    ),
    KnownWeights(
        "sam3",
        "sam3",
        "facebook/sam3",
        "3c879f39826c281e95690f02c7821c4de09afae7",
        SAM_LICENCE,
        3_445_000_000,
        gated=True,
        sha256=_weights_sha256("6d06f0a5f84e435071fe6603e61d0b4cc7b40e0d39d487cfd4d67d8cc11cc14a"),
    ),
    KnownWeights(
        "clip-vit-base-patch32",
        "clip",
        "openai/clip-vit-base-patch32",
        "b33cedfd0df4e43b8238760678fcc89e1a0d38b3",  # the newest has no safetensors: this is the hub's conversion
        MIT,
        609_200_000,
        sha256=_weights_sha256("99d28a652e6ec46629ab7047a0ac82c69b1fe11e0ce672c43af65d3a9a3fc05d"),
    ),
    KnownWeights(
        "clip-vit-large-patch14",
        "clip",
        "openai/clip-vit-large-patch14",
        "32bd64288804d66eefd0ccbe215aa642df71cc41",
        MIT,
        1_714_500_000,
        sha256=_weights_sha256("a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb"),
    ),
)


def known(name: str) -> KnownWeights | None:
    """The weights of that name or hub id."""
    return next((each for each in KNOWN if name in (each.name, each.hub_id)), None)
