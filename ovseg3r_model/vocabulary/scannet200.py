"""The classes of the ScanNet200 benchmark."""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, cast

Frequency = Literal["head", "common", "tail"]
Split = Literal["base", "novel"]


@dataclass(frozen=True, slots=True)
class ScanNet200Class:
    """frequency: the benchmark's group. split: of the open-vocabulary setting, None for wall and floor, which are no
    instances.
    """

    id: int
    name: str
    frequency: Frequency
    split: Split | None


@cache
def scannet200_classes() -> tuple[ScanNet200Class, ...]:
    """All 200, in the order of the benchmark, which is that of their ids."""
    text = files(__package__).joinpath("scannet200.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple(
        ScanNet200Class(
            int(row["id"]),
            row["name"],
            cast(Frequency, row["frequency"]),
            cast(Split, row["split"]) if row["split"] else None,
        )
        for row in rows
    )
