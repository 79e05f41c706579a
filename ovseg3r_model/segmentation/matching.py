"""Which entry of somebody's masks, or view of their reconstruction, belongs to which frame, by name."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ovseg3r_model.errors import InputError

_SUFFIX = re.compile(r"\.(png|jpe?g|bmp|tiff?|webp|ppm|pgm)$", re.IGNORECASE)
_ROLE = re.compile(r"[._-](colou?r|rgb|image|instances?|masks?|seg|ids?|labels?|panoptic)$", re.IGNORECASE)
_NUMBER = re.compile(r"(\d+)$")


@dataclass(frozen=True)
class Match:
    """entry: for each frame the index of its entry, None where it has none. notes: how they were matched, where it
    was not by name."""

    entry: tuple[int | None, ...]
    notes: tuple[str, ...]


def match_names(frames: Sequence[str], entries: Sequence[str], source: str, what: str = "masks") -> Match:
    """Pairs frame names with mask entry names ("rgb/frame-000005.color.png"); ``source`` is the masks' path, and
    ``what`` the entries are, for the messages.

    A frame takes the entry of the same name, picture suffix left aside, if need be folders too; else the one that
    agrees once the picture's role (".color", "_mask") is dropped as well. Only if no frame finds an entry by name,
    the frame numbers at the ends are compared. Entries without a frame are left out: keyframes are a subset of a
    source.

    Raises:
        InputError: no frame has an entry; two entries fit a frame as well; two frames want the same entry.
    """
    entry = _paired(frames, entries, (_full, _stem, _bare), source)
    if any(e is not None for e in entry):
        return Match(entry, ())
    entry = _paired(frames, entries, (_number,), source)
    for frame, e in zip(frames, entry, strict=True):
        if e is not None:
            note = f"The names in {source} are not the frames': they are matched by number ({frame} is {entries[e]})."
            return Match(entry, (note,))
    raise InputError(
        f"The {what} in {source} are for other frames: they are named {first_few(entries)}, the frames "
        f"{first_few(frames)}; name the entries like the frames."
    )


def match_exact_names(frames: Sequence[str], entries: Sequence[str], source: str) -> tuple[int | None, ...]:
    """For each frame the index of the entry of the same name, folder and picture suffix left aside, or None; nothing is
    matched by number, and all may be None.

    Raises:
        InputError: two entries fit a frame as well; two frames want the same entry.
    """
    return _paired(frames, entries, (_full, _stem), source)


def first_few(names: Sequence[str], count: int = 3) -> str:
    """'a, b, c and 7 more'."""
    rest = len(names) - count
    return ", ".join(names[:count]) + (f" and {rest} more" if rest > 0 else "")


def _full(name: str) -> str:
    return _SUFFIX.sub("", name)


def _stem(name: str) -> str:
    return _SUFFIX.sub("", re.split(r"[/\\]", name)[-1])


def _bare(name: str) -> str:
    return _ROLE.sub("", _stem(name))


def _number(name: str) -> str | None:
    found = _NUMBER.search(_bare(name))
    return None if found is None else found[1].lstrip("0") or "0"


def _paired(
    frames: Sequence[str], entries: Sequence[str], keys: Sequence[Callable[[str], str | None]], source: str
) -> tuple[int | None, ...]:
    """For each frame the entry that agrees under the first key that finds one."""
    tables = [_table(entries, key) for key in keys]
    paired: list[int | None] = []
    taken: dict[int, str] = {}
    for frame in frames:
        fits = next((table[k] for table, key in zip(tables, keys, strict=True) if (k := key(frame)) in table), [])
        if len(fits) > 1:
            raise InputError(
                f"{len(fits)} entries of {source} fit frame {frame} equally well: "
                f"{first_few([entries[e] for e in fits])}; keep one of them."
            )
        for e in fits:
            if e in taken:
                raise InputError(
                    f"Entry {entries[e]} of {source} fits two frames, {taken[e]} and {frame}; name it like one of them."
                )
            taken[e] = frame
        paired.append(fits[0] if fits else None)
    return tuple(paired)


def _table(entries: Sequence[str], key: Callable[[str], str | None]) -> dict[str | None, list[int]]:
    table: defaultdict[str | None, list[int]] = defaultdict(list)
    for e, name in enumerate(entries):
        if (k := key(name)) is not None:
            table[k].append(e)
    return dict(table)
