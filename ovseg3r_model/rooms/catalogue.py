"""The kinds of thing a room may hold: their names, where they go and how they are built."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ovseg3r_model.rooms import floor_things as g
from ovseg3r_model.rooms import furniture as f
from ovseg3r_model.rooms import things as t
from ovseg3r_model.rooms.shapes import Shape
from ovseg3r_model.rooms.textures import Colour, Pattern

Place = Literal["wall", "free", "seat", "floor", "mounted", "top", "soft"]


@dataclass(frozen=True)
class SolidKind:
    """A kind of thing with volume.

    place: "wall" backs on a wall, "free" stands in the room, "seat" goes to a table if there is one, "floor" stands
    anywhere on the floor, "mounted" hangs at a wall with its foot ``height`` metres up, "top" stands on furniture,
    "soft" lies on a sofa or a bed. limit: the most of this kind in one room. weight: how often it is chosen, against
    others of the same place.
    """

    name: str
    synonyms: tuple[str, ...]
    build: Callable[[np.random.Generator], Shape]
    place: Place
    limit: int = 1
    weight: float = 1.0
    height: float = 0.0


@dataclass(frozen=True)
class FlatKind:
    """A kind of thing without thickness.

    host: what it lies on: "wall", "floor", "top" (of a table) or "front" (of a wardrobe, a door ...). size: ranges of
    width and height in metres, of one draw: (w0, w1, h0, h1). height: range of its middle above the floor, walls only.
    turned: may lie at any angle.
    """

    name: str
    synonyms: tuple[str, ...]
    pattern: Pattern
    host: tuple[str, ...]
    size: tuple[float, float, float, float]
    height: tuple[float, float] = (0.0, 0.0)
    ellipse: bool = False
    turned: bool = False
    limit: int = 2
    weight: float = 1.0
    colours: tuple[Colour, Colour] | None = None


SOLID_KINDS: tuple[SolidKind, ...] = (
    SolidKind("sofa", ("couch", "settee"), f.sofa, "wall"),
    SolidKind("bed", ("single bed",), f.bed, "wall"),
    SolidKind("wardrobe", ("closet", "armoire"), f.wardrobe, "wall"),
    SolidKind("bookshelf", ("bookcase",), f.bookshelf, "wall", 2),
    SolidKind("shelf", ("shelving unit",), f.low_shelf, "wall"),
    SolidKind("cabinet", ("cupboard", "sideboard"), f.cabinet, "wall", 2),
    SolidKind("dresser", ("chest of drawers",), f.dresser, "wall"),
    SolidKind("nightstand", ("bedside table",), f.nightstand, "wall", 2),
    SolidKind("tv stand", ("media console",), f.tv_stand, "wall"),
    SolidKind("desk", ("writing desk",), f.desk, "wall"),
    SolidKind("refrigerator", ("fridge",), f.refrigerator, "wall", weight=0.5),
    SolidKind("washing machine", ("washer",), f.washing_machine, "wall", weight=0.5),
    SolidKind("bench", ("wooden bench",), f.bench, "wall", weight=0.6),
    SolidKind("table", ("dining table",), f.table, "free"),
    SolidKind("coffee table", ("low table",), f.coffee_table, "free"),
    SolidKind("armchair", ("easy chair",), f.armchair, "free", 2),
    SolidKind("ottoman", ("pouf", "footstool"), f.ottoman, "free"),
    SolidKind("chair", ("dining chair",), f.chair, "seat", 4, 2.0),
    SolidKind("office chair", ("desk chair", "swivel chair"), f.office_chair, "seat"),
    SolidKind("stool", ("bar stool",), f.stool, "seat", 2),
    SolidKind("radiator", ("heater",), f.radiator, "mounted", height=0.12),
    SolidKind("door", ("wooden door",), f.door, "mounted"),
    SolidKind("curtain", ("drapes",), f.curtain, "mounted", 2, height=0.15),
    SolidKind("wall shelf", ("floating shelf",), f.wall_shelf, "mounted", 2, height=1.35),
    SolidKind("floor lamp", ("standing lamp",), g.floor_lamp, "floor"),
    SolidKind("potted plant", ("houseplant", "plant"), g.potted_plant, "floor", 2),
    SolidKind("trash can", ("bin", "wastebasket"), g.trash_can, "floor", 2),
    SolidKind("box", ("cardboard box",), g.cardboard_box, "floor", 2),
    SolidKind("suitcase", ("luggage",), g.suitcase, "floor"),
    SolidKind("backpack", ("rucksack",), g.backpack, "floor"),
    SolidKind("laundry basket", ("hamper",), g.laundry_basket, "floor"),
    SolidKind("bucket", ("pail",), g.bucket, "floor"),
    SolidKind("ball", ("football",), g.ball, "floor"),
    SolidKind("fan", ("electric fan",), g.fan, "floor"),
    SolidKind("tv", ("television",), t.tv, "top"),
    SolidKind("monitor", ("computer screen",), t.monitor, "top", 2),
    SolidKind("keyboard", ("computer keyboard",), t.keyboard, "top"),
    SolidKind("mouse", ("computer mouse",), t.mouse, "top", weight=0.5),
    SolidKind("laptop", ("notebook computer",), t.laptop, "top"),
    SolidKind("lamp", ("table lamp", "desk lamp"), t.table_lamp, "top", 2),
    SolidKind("book", ("paperback",), t.book, "top", 3),
    SolidKind("books", ("row of books",), t.books, "top", 3, 1.5),
    SolidKind("bowl", ("dish",), t.bowl, "top", 2),
    SolidKind("bottle", ("wine bottle",), t.bottle, "top", 2),
    SolidKind("cup", ("mug",), t.cup, "top", 2),
    SolidKind("plate", ("dinner plate",), t.plate, "top", 2),
    SolidKind("vase", ("flower vase",), t.vase, "top", 2),
    SolidKind("flower pot", ("small plant",), t.flower_pot, "top", 2),
    SolidKind("telephone", ("phone",), t.telephone, "top"),
    SolidKind("tissue box", ("box of tissues",), t.tissue_box, "top"),
    SolidKind("speaker", ("loudspeaker",), t.speaker, "top", 2),
    SolidKind("printer", ("inkjet printer",), t.printer, "top"),
    SolidKind("microwave", ("microwave oven",), t.microwave, "top"),
    SolidKind("toaster", ("bread toaster",), t.toaster, "top"),
    SolidKind("kettle", ("teapot",), t.kettle, "top"),
    SolidKind("candle", ("pillar candle",), t.candle, "top", 2, 0.5),
    SolidKind("alarm clock", ("digital clock",), t.alarm_clock, "top"),
    SolidKind("jar", ("canister",), t.jar, "top", 2),
    SolidKind("pot", ("cooking pot", "saucepan"), t.cooking_pot, "top"),
    SolidKind("pillow", ("cushion",), t.pillow, "soft", 3, 2.0),
    SolidKind("teddy bear", ("stuffed animal",), t.teddy_bear, "soft"),
)

FLAT_KINDS: tuple[FlatKind, ...] = (
    FlatKind(
        "picture",
        ("painting", "framed picture"),
        Pattern.PICTURE,
        ("wall",),
        (0.4, 0.9, 0.35, 0.7),
        (1.45, 1.7),
        limit=4,
        weight=2,
    ),
    FlatKind("poster", ("wall poster",), Pattern.POSTER, ("wall", "front"), (0.4, 0.6, 0.55, 0.85), (1.4, 1.6)),
    FlatKind(
        "whiteboard", ("dry erase board",), Pattern.WHITEBOARD, ("wall",), (0.9, 1.5, 0.6, 0.9), (1.4, 1.55), limit=1
    ),
    FlatKind("map", ("wall map",), Pattern.MAP, ("wall",), (0.7, 1.1, 0.5, 0.7), (1.4, 1.6), limit=1),
    FlatKind("mirror", ("wall mirror",), Pattern.MIRROR, ("wall", "front"), (0.35, 0.5, 0.7, 1.1), (1.3, 1.5), limit=1),
    FlatKind(
        "calendar", ("wall calendar",), Pattern.CALENDAR, ("wall", "front"), (0.28, 0.34, 0.4, 0.5), (1.4, 1.6), limit=1
    ),
    FlatKind(
        "clock", ("wall clock",), Pattern.CLOCK, ("wall",), (0.28, 0.36, 0.28, 0.36), (1.8, 2.1), ellipse=True, limit=1
    ),
    FlatKind(
        "power outlet",
        ("socket", "wall socket"),
        Pattern.SOCKET,
        ("wall",),
        (0.09, 0.09, 0.09, 0.09),
        (0.3, 0.32),
        limit=3,
        weight=1.5,
    ),
    FlatKind("light switch", ("switch",), Pattern.SWITCH, ("wall",), (0.085, 0.085, 0.085, 0.085), (1.05, 1.15)),
    FlatKind("rug", ("carpet",), Pattern.RUG, ("floor",), (1.4, 2.0, 0.9, 1.4), limit=1, weight=3),
    FlatKind("doormat", ("mat",), Pattern.DOORMAT, ("floor",), (0.6, 0.75, 0.4, 0.45), limit=1),
    FlatKind(
        "paper",
        ("sheet of paper",),
        Pattern.PAPER,
        ("top", "floor", "wall"),
        (0.21, 0.21, 0.297, 0.297),
        (1.2, 1.6),
        turned=True,
        limit=3,
    ),
    FlatKind("placemat", ("table mat",), Pattern.PLACEMAT, ("top",), (0.38, 0.45, 0.28, 0.32), turned=True),
    FlatKind(
        "sticker", ("decal",), Pattern.STICKER, ("front", "wall"), (0.12, 0.2, 0.12, 0.2), (1.0, 1.5), ellipse=True
    ),
)
