"""``python -m benchmarks``: how fast the heavy steps are beside a baseline, and how the rules of the edge cut compare.

Needs no data: every input is synthetic, seeded and made in memory. docs/benchmarks.md says what each row means.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.convolving import network_rows
from benchmarks.cut_rules import CutRow, cut_rule_rows
from benchmarks.evaluating import evaluation_rows
from benchmarks.fusing import fusion_rows
from benchmarks.grouping import superpoint_rows
from benchmarks.labelling import lifting_rows
from benchmarks.markdown import VIDEO_HEAD, figure, with_range
from benchmarks.measure import Row, machine
from benchmarks.orchestration import orchestration_rows
from benchmarks.segmenting import overlap_rows, segmentation_memory_rows, segmentation_rows
from benchmarks.storing import storage_rows
from benchmarks.training_steps import training_rows
from benchmarks.videos import VideoRow, spread, video_rows, video_speed_rows
from benchmarks.whole_network import whole_rows
from flows.demo import MASK_ERRORS

DEPTH_NOISE = 0.0015
"""Of a depth camera: sigma in metres at one metre, growing with the square of the distance, as a Kinect's."""

SCHEMA_VERSION = 1
CUT_RULES = "cut-rules"
ROOMS = "video-rooms"
SPEED: dict[str, Callable[[bool], list[Row]]] = {
    "fusion": lambda quick: fusion_rows(quick, DEPTH_NOISE),
    "superpoints": superpoint_rows,
    "lifting": lifting_rows,
    "storage": storage_rows,
    "video": video_speed_rows,
    "evaluation": evaluation_rows,
    "network": lambda quick: [*network_rows(quick), *whole_rows(quick)],
    "training": training_rows,
    "orchestration": orchestration_rows,
    "segmentation": lambda quick: [*overlap_rows(quick), *segmentation_memory_rows(quick), *segmentation_rows(quick)],
}

EVERY = [*SPEED, CUT_RULES, ROOMS]


def main() -> None:
    options = _options()
    console = Console(width=None if Console().is_terminal else 180)
    start, where = time.perf_counter(), machine()
    chosen = options.only or EVERY
    rows: list[Row] = []
    cuts: list[CutRow] = []
    videos: list[VideoRow] = []
    with console.status("") as status:
        for item, measure in SPEED.items():
            if item in chosen:
                status.update(f"{item} ...")
                rows += measure(options.quick)
        if CUT_RULES in chosen:
            status.update(f"{CUT_RULES} ...")
            cuts = cut_rule_rows(options.quick, MASK_ERRORS, DEPTH_NOISE)
        if ROOMS in chosen:
            status.update(f"{ROOMS} ...")
            videos = video_rows(options.quick)
    result = {
        "schema_version": SCHEMA_VERSION,
        "quick": options.quick,
        "seconds": time.perf_counter() - start,
        "machine": where,
        "speed": [asdict(row) | {"ratio": row.ratio} for row in rows],
        "cut_rules": [asdict(row) for row in cuts],
        "video_rooms": [asdict(row) for row in videos],
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    _show(console, rows, cuts, videos, result)
    if options.quick and (bad := [row.name for row in rows if not _is_sound(row)]):
        raise SystemExit(f"figures that are not finite and above 0: {', '.join(bad)}")
    console.print(f"Written to {options.out} after {result['seconds']:.0f} s.")


def _is_sound(row: Row) -> bool:
    figures = (row.value, row.baseline_value, row.ratio, row.runs, row.seconds, row.wanted)
    return all(math.isfinite(figure) and figure > 0 for figure in figures if figure is not None)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small inputs and one run: shows that all works, no more")
    parser.add_argument("--out", type=Path, default=Path("bench/results.json"), help="where the JSON goes")
    parser.add_argument("--only", choices=EVERY, action="append", help="one item instead of all; may be repeated")
    return parser.parse_args()


def _show(
    console: Console, rows: list[Row], cuts: list[CutRow], videos: list[VideoRow], result: dict[str, Any]
) -> None:
    where = result["machine"]
    console.print(
        f"{where['cpu']}, {where['cores']} cores, load {where['load_before']} before, Python {where['python']}, "
        f"numpy {where['numpy']}, {where['date']}",
        highlight=False,
    )
    if rows:
        console.print(_speed_table(rows))
    if cuts:
        console.print(_cut_table(cuts))
    if videos:
        console.print(_video_table(videos))


def _speed_table(rows: list[Row]) -> Table:
    table = Table(title="Speed and size (median of the runs; ratio = value / baseline)")
    for name in ("item", "what", "size"):
        table.add_column(name)
    for name in ("s", "wanted s", "runs", "value", "baseline's", "ratio"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("baseline")
    for row in rows:
        table.add_row(
            row.item, row.name, row.size, figure(row.seconds), figure(row.wanted), str(row.runs),
            f"{figure(row.value)} {row.unit}", figure(row.baseline_value), figure(row.ratio), row.baseline,
        )  # fmt: skip
    return table


def _cut_table(cuts: list[CutRow]) -> Table:
    rooms = len(cuts[0].by_room["purity"])
    table = Table(title=f"When 2D boundaries cut an edge (mean of {rooms} room(s); in brackets lowest - highest)")
    table.add_column("depth and masks")
    table.add_column("rule")
    for name in ("oracle AP", "oracle AP flat", "purity", "boundary recall", "superpoints"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in cuts:
        table.add_row(
            row.input, row.rule, with_range(row.oracle_ap, row.by_room["oracle_ap"]),
            with_range(row.oracle_ap_flat, row.by_room["oracle_ap_flat"]),
            f"{row.purity:.4f}", f"{row.boundary_recall:.3f}", f"{row.superpoints:.0f}",
        )  # fmt: skip
    return table


def _video_table(videos: list[VideoRow]) -> Table:
    table = Table(title=f"Rooms' videos alone, {videos[0].views} keyframes each, against their exact truth")
    for name in VIDEO_HEAD:
        table.add_column(name, justify="right")
    for row in videos:
        table.add_row(*(figure(value) for value in asdict(row).values()))
    table.add_section()
    for k, name in enumerate(("lowest", "median", "highest")):
        table.add_row(name, "", *(figure(v[k]) for v in spread(videos).values()))
    return table


if __name__ == "__main__":
    main()
