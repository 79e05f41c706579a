"""The benchmark's quick form runs from end to end and writes what docs/benchmarks.md promises. No figure is judged."""

import json
import math
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from benchmarks.__main__ import SPEED, main
from benchmarks.many_scenes import cut
from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import EdgeCut
from ovseg3r_model.sources import source_digest

ROW = {"item", "name", "size", "seconds", "runs", "value", "unit", "baseline", "baseline_value", "wanted", "ratio"}
CUT_FIGURES = {"oracle_ap", "oracle_ap_flat", "purity", "boundary_recall", "superpoints"}


ITEMS = ("superpoints", "storage", "cut-rules", "video-rooms")
"""Some that run in this process in seconds; `.ci/run` runs all, as ``make bench ARGS=--quick``."""


def run(out: Path, *items: str) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        chosen = [word for item in items for word in ("--only", item)]
        patch.setattr(sys, "argv", ["benchmarks", "--quick", "--out", str(out), *chosen])
        main()
    written: dict[str, Any] = json.loads(out.read_text())
    return written


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run(tmp_path_factory.mktemp("bench") / "new" / "results.json", *ITEMS)


def test_it_says_what_was_run_and_where(result: dict[str, Any]) -> None:
    assert set(result) == {"schema_version", "quick", "seconds", "machine", "speed", "cut_rules", "video_rooms"}
    assert result["quick"] is True
    assert {"date", "cores", "cpu", "system", "load_before", "python", "numpy"} <= set(result["machine"])


def test_every_row_has_a_baseline_and_finite_positive_figures(result: dict[str, Any]) -> None:
    assert {row["item"] for row in result["speed"]} == set(ITEMS) & SPEED.keys()
    for row in result["speed"]:
        assert set(row) == ROW
        assert row["baseline"]
        figures = [row["value"], row["baseline_value"], row["ratio"], row["runs"]]
        figures += [row[name] for name in ("seconds", "wanted") if row[name] is not None]
        assert all(math.isfinite(v) and v > 0 for v in figures), row
        assert row["ratio"] == pytest.approx(row["value"] / row["baseline_value"])


def test_every_rule_is_compared_on_both_inputs(result: dict[str, Any]) -> None:
    rules = {"geometry only", *get_args(EdgeCut)}
    assert {(r["input"], r["rule"]) for r in result["cut_rules"]} == {
        (i, r) for i in ("exact", "imperfect") for r in rules
    }
    for row in result["cut_rules"]:
        assert set(row["by_room"]) == CUT_FIGURES
        for name in CUT_FIGURES:
            assert math.isfinite(row[name])
            assert row[name] >= 0  # geometry alone may find no flat object at all
            assert row[name] == pytest.approx(sum(row["by_room"][name]) / len(row["by_room"][name]))


def test_a_room_s_video_is_reconstructed_and_judged(result: dict[str, Any]) -> None:
    (row,) = result["video_rooms"]
    assert row["registered"] == 1
    assert all(math.isfinite(value) for value in row.values())


def test_only_runs_what_is_asked_for(tmp_path: Path) -> None:
    written = run(tmp_path / "results.json", "lifting")
    assert {row["item"] for row in written["speed"]} == {"lifting"}
    assert written["cut_rules"] == []


def test_a_recording_is_cut_into_pieces_no_two_alike(small_rooms: dict[str, Path], tmp_path: Path) -> None:
    pieces = cut(small_rooms["7scenes"], tmp_path / "pieces", 4, 6)
    frames = [[path.name for path in sorted(piece.glob("frame-*.pose.txt"))] for piece in pieces]
    assert [len(names) for names in frames] == [6] * 4
    assert frames[0][0] == "frame-000000.pose.txt"
    assert frames[-1][-1] == "frame-000011.pose.txt"
    assert len({tuple(names) for names in frames}) == 4
    assert len({source_digest(piece) for piece in pieces}) == 4
    with pytest.raises(InputError, match=r"has 12 frames in the layout of 7-Scenes; 14 are needed\."):
        cut(small_rooms["7scenes"], tmp_path / "more", 9, 6)
