"""Furnishing: where the things of the catalogue stand in a rectangular room."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ovseg3r_model.records import Float64
from ovseg3r_model.rooms.catalogue import SOLID_KINDS, Place, SolidKind
from ovseg3r_model.rooms.floorplan import block, overlaps, rotation, walkable
from ovseg3r_model.rooms.shapes import Shape, Support

# The four walls: how an object is turned that backs on it, and the inward normal.
WALL_YAWS = (0.0, -np.pi / 2, np.pi, np.pi / 2)
WALL_NORMALS = ((0.0, -1.0), (-1.0, 0.0), (0.0, 1.0), (1.0, 0.0))
# Of the things asked for, the share of each place; what is left stands on furniture.
SHARES: tuple[tuple[Place, float], ...] = (
    ("wall", 0.21),
    ("free", 0.07),
    ("mounted", 0.09),
    ("seat", 0.13),
    ("floor", 0.13),
    ("soft", 0.06),
)
# What a place gets first, so that every room has a door and something to put small things on.
FIRST: dict[Place, tuple[str, ...]] = {
    "wall": ("desk", "cabinet", "dresser"),
    "free": ("table", "coffee table"),
    "mounted": ("door",),
}
TRIES = 40


@dataclass(frozen=True)
class Placed:
    """A thing in the room: its shape's frame is turned by ``yaw`` and moved to ``origin`` (3,), metres."""

    kind: SolidKind
    shape: Shape
    origin: Float64
    yaw: float

    def blocks(self) -> Float64:
        """(P,7): the box of every piece."""
        return np.array([block(p.low, p.high, self.origin, self.yaw) for p in self.shape.pieces])

    def whole(self) -> Float64:
        """(7,): the box of all of it."""
        return block(self.shape.low, self.shape.high, self.origin, self.yaw)


@dataclass
class Furnishing:
    """A room being furnished."""

    size: Float64
    rng: np.random.Generator
    placed: list[Placed] = field(default_factory=list)
    taken: Float64 = field(default_factory=lambda: np.zeros((0, 7)))
    keep_free: Float64 = field(default_factory=lambda: np.zeros((0, 7)))

    def add(self, thing: Placed) -> None:
        self.placed.append(thing)
        self.taken = np.concatenate([self.taken, thing.blocks()])

    def add_blocks(self, blocks: Float64) -> None:
        """Takes room for something that is no object, as a sheet of paper on a table."""
        self.taken = np.concatenate([self.taken, blocks])

    def fits(self, thing: Placed, margin: float, by_piece: bool = False) -> bool:
        """Whether it stands inside the room and clear of everything, as one box or piece by piece."""
        corners = _corners(thing.whole())
        if corners.min() < 0.005 or (corners > self.size[:2] - 0.005).any() or thing.whole()[6] > self.size[2]:
            return False
        boxes = thing.blocks() if by_piece else thing.whole()[None]
        return not any(overlaps(b, self.taken, margin).any() for b in boxes)

    def fits_floor(self, thing: Placed, margin: float, by_piece: bool = False) -> bool:
        """As ``fits``, and leaves doors free and enough floor to walk on."""
        if overlaps(thing.whole(), self.keep_free).any() or not self.fits(thing, margin, by_piece):
            return False
        floor = walkable(self.size, np.concatenate([self.taken, thing.whole()[None]]))
        return bool(floor.area > 0.16 * self.size[0] * self.size[1])


def furnish(size: Float64, n_objects: int, rng: np.random.Generator) -> Furnishing:
    """Places what stands on the floor or hangs at walls; ``fill`` adds the rest after the flat things are laid."""
    room = Furnishing(size, rng)
    for place, share in SHARES:
        count = round(share * n_objects)
        if place in ("wall", "free", "mounted"):
            count = max(count, 1)
        if place != "soft":
            _place(room, place, min(count, n_objects - len(room.placed)))
    return room


def fill(room: Furnishing, n_objects: int) -> None:
    """Puts small things on furniture until the room holds ``n_objects``; then, where furniture is full, on the
    floor.
    """
    soft = round(dict(SHARES)["soft"] * n_objects)
    wanted: tuple[tuple[Place, int], ...] = (
        ("soft", soft),
        ("top", n_objects),
        ("floor", n_objects),
        ("seat", n_objects),
        ("wall", n_objects),
    )
    for place, count in wanted:
        _place(room, place, min(count, n_objects - len(room.placed)))


def _place(room: Furnishing, place: Place, count: int) -> None:
    kinds = [k for k in SOLID_KINDS if k.place == place]
    left = {k.name: k.limit - sum(p.kind.name == k.name for p in room.placed) for k in kinds}
    placer: dict[Place, Callable[[Furnishing, SolidKind, Shape], Placed | None]] = {
        "wall": _at_wall,
        "mounted": _at_wall,
        "free": _free,
        "seat": _seat,
        "floor": _on_floor,
        "top": _on_top,
        "soft": _on_top,
    }
    first = FIRST.get(place, ())
    while count > 0:
        open_kinds = [k for k in kinds if left[k.name] > 0]
        if not open_kinds:
            return
        chosen = [k for k in open_kinds if k.name in first] or open_kinds
        first = ()
        weights = np.array([k.weight for k in chosen])
        kind = chosen[int(room.rng.choice(len(chosen), p=weights / weights.sum()))]
        thing = placer[place](room, kind, kind.build(room.rng))
        if thing is None:
            left[kind.name] = 0
            continue
        left[kind.name] -= 1
        room.add(thing)
        count -= 1


def _at_wall(room: Furnishing, kind: SolidKind, shape: Shape) -> Placed | None:
    low, high = shape.low, shape.high
    for _ in range(TRIES):
        wall = int(room.rng.integers(4))
        yaw, normal = WALL_YAWS[wall], np.array(WALL_NORMALS[wall])
        turn = rotation(yaw)
        along = turn[:2, 0]
        length = room.size[0] if wall % 2 == 0 else room.size[1]
        reach = length - (high[0] - low[0]) - 0.04
        if reach <= 0:
            continue
        middle = room.size[:2] / 2 - normal * room.size[:2] / 2
        # A corner now and then: people push furniture there.
        slide = (
            room.rng.choice([-1.0, 1.0])
            if room.rng.random() < 0.3 and kind.place == "wall"
            else room.rng.uniform(-1, 1)
        )
        spot = middle + along * (slide * reach / 2 - (low[0] + high[0]) / 2) + normal * (high[1] + 0.01)
        thing = Placed(kind, shape, np.array([spot[0], spot[1], kind.height]), yaw)
        fits = (
            room.fits(thing, 0.03)
            if kind.height > 1 or kind.name in ("door", "curtain")
            else room.fits_floor(thing, 0.04)
        )
        if fits and not overlaps(thing.whole(), room.keep_free).any():
            if kind.name == "door":
                front = block(np.array([-0.5, -0.95, 0.0]), np.array([0.5, 0.0, 2.0]), thing.origin, yaw)
                room.keep_free = np.concatenate([room.keep_free, front[None]])
            return thing
    return None


def _free(room: Furnishing, kind: SolidKind, shape: Shape) -> Placed | None:
    for _ in range(TRIES):
        spot = room.size[:2] * room.rng.uniform(0.22, 0.78, 2)
        yaw = float(room.rng.choice(WALL_YAWS))
        thing = Placed(kind, shape, np.array([spot[0], spot[1], 0.0]), yaw)
        if room.fits_floor(thing, 0.4):
            return thing
    return None


def _seat(room: Furnishing, kind: SolidKind, shape: Shape) -> Placed | None:
    desks = [p for p in room.placed if p.kind.name in ("table", "desk")]
    if kind.name == "office chair":
        desks = [p for p in desks if p.kind.name == "desk"] or desks
    for attempt in range(TRIES):
        if desks and attempt < TRIES * 3 // 4:
            desk = desks[int(room.rng.integers(len(desks)))]
            sides = (0.0,) if desk.kind.name == "desk" else WALL_YAWS
            side = float(sides[int(room.rng.integers(len(sides)))])
            half = (desk.shape.high - desk.shape.low)[:2] / 2
            width, depth = (half[0], half[1]) if abs(np.cos(side)) > 0.5 else (half[1], half[0])
            # The chair's front is -y: at side 0 it stands before the table's front and looks back at it.
            local = rotation(side) @ np.array(
                [room.rng.uniform(-0.7, 0.7) * width, -(depth + room.rng.uniform(0.0, 0.3)), 0.0]
            )
            spot = (rotation(desk.yaw) @ local + desk.origin)[:2]
            yaw = desk.yaw + side + np.pi + room.rng.uniform(-0.25, 0.25)
        else:
            spot, yaw = room.size[:2] * room.rng.uniform(0.12, 0.88, 2), room.rng.uniform(-np.pi, np.pi)
        thing = Placed(kind, shape, np.array([spot[0], spot[1], 0.0]), float(yaw))
        if room.fits_floor(thing, 0.02, by_piece=True):
            return thing
    return None


def _on_floor(room: Furnishing, kind: SolidKind, shape: Shape) -> Placed | None:
    for _ in range(TRIES):
        spot = room.size[:2] * room.rng.uniform(0.04, 0.96, 2)
        wall = int(np.argmin([room.size[1] - spot[1], room.size[0] - spot[0], spot[1], spot[0]]))
        thing = Placed(
            kind, shape, np.array([spot[0], spot[1], 0.0]), WALL_YAWS[wall] + float(room.rng.uniform(-0.4, 0.4))
        )
        if room.fits_floor(thing, 0.04):
            return thing
    return None


def _on_top(room: Furnishing, kind: SolidKind, shape: Shape) -> Placed | None:
    size = shape.high - shape.low
    spots = [(p, s) for p in room.placed for s in p.shape.supports if _may_hold(kind, p, s, size)]
    if not spots:
        return None
    area = np.array([(s.x1 - s.x0) * (s.y1 - s.y0) for _, s in spots])
    for _ in range(TRIES):
        host, support = spots[int(room.rng.choice(len(spots), p=area / area.sum()))]
        turn = float(room.rng.uniform(-0.3, 0.3)) if min(size[:2]) < 0.3 and kind.name != "books" else 0.0
        corners = _corners(block(shape.low, shape.high, np.zeros(3), turn))
        low = np.array([support.x0, support.y0]) - corners.min(axis=0)
        high = np.array([support.x1, support.y1]) - corners.max(axis=0)
        if (low > high).any():
            continue
        local = np.append(room.rng.uniform(low, high), support.z)
        thing = Placed(kind, shape, rotation(host.yaw) @ local + host.origin, host.yaw + turn)
        if room.fits(thing, 0.012):
            return thing
    return None


def _may_hold(kind: SolidKind, host: Placed, support: Support, size: Float64) -> bool:
    """Whether the support is of the right sort, high enough inside and large enough."""
    room = sorted((support.x1 - support.x0, support.y1 - support.y0))
    fits = size[2] + 0.01 < support.clearance and min(size[:2]) < room[0] and max(size[:2]) < room[1]
    wanted = {"tv": ("tv stand", "dresser", "cabinet"), "keyboard": ("desk", "table"), "mouse": ("desk", "table")}
    wanted |= {"monitor": ("desk", "table"), "printer": ("desk", "cabinet", "dresser", "shelf", "table")}
    return (
        bool(fits)
        and support.soft == (kind.place == "soft")
        and host.kind.name in wanted.get(kind.name, (host.kind.name,))
    )


def _corners(one: Float64) -> Float64:
    """(4,2) corners of a box on the plan."""
    signs = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float64)
    return np.asarray((signs * one[2:4]) @ rotation(one[4])[:2, :2].T + one[:2])
