"""The tables of docs/benchmarks.md from a run, in Markdown: ``python -m benchmarks.markdown bench/results.json``."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SPEED_HEAD = ("item", "what", "input", "s", "wanted s", "value", "baseline's", "ratio", "baseline")
CUT_HEAD = ("input", "rule", "oracle AP", "oracle AP flat", "purity", "boundary recall", "superpoints")

VIDEO_HEAD = ("room", "views", "registered", "ATE cm", "rotation deg", "coverage", "median error %", "within 2 %",
              "within 5 %", "calibration error", "points off cm", "s a view")  # fmt: skip


def main() -> None:
    result = json.loads(Path(sys.argv[1]).read_text())
    where = result["machine"]
    machine = f"{where['cpu']}, {where['cores']} cores, load {where['load_before']} before the start"
    versions = f"Python {where['python']}, numpy {where['numpy']}"
    sys.stdout.write(f"{machine}; {versions}; {where['date']}; {result['seconds']:.0f} s in all.\n\n")
    sys.stdout.write(_table(SPEED_HEAD, map(_speed_line, result["speed"])) + "\n")
    sys.stdout.write(_table(CUT_HEAD, map(_cut_line, result["cut_rules"])) + "\n")
    sys.stdout.write(_table(VIDEO_HEAD, ([figure(v) for v in row.values()] for row in result["video_rooms"])))


def figure(value: float | None) -> str:
    """Three digits that count."""
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def with_range(mean: float, rooms: list[float]) -> str:
    return f"{mean:.3f} ({min(rooms):.2f} - {max(rooms):.2f})"


def _speed_line(row: dict[str, Any]) -> list[str]:
    return [
        row["item"], row["name"], row["size"], figure(row["seconds"]), figure(row["wanted"]),
        f"{figure(row['value'])} {row['unit']}", figure(row["baseline_value"]), figure(row["ratio"]), row["baseline"],
    ]  # fmt: skip


def _cut_line(row: dict[str, Any]) -> list[str]:
    ranges = [with_range(row[name], row["by_room"][name]) for name in ("oracle_ap", "oracle_ap_flat")]
    rest = [f"{row['purity']:.4f}", f"{row['boundary_recall']:.3f}", f"{row['superpoints']:.0f}"]
    return [row["input"], row["rule"], *ranges, *rest]


def _table(head: Iterable[str], lines: Iterable[list[str]]) -> str:
    head = list(head)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *lines))


if __name__ == "__main__":
    main()
