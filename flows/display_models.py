"""What people see of models, of what they find and of how good they are."""

import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from flows.display import output
from ovseg3r_model.benchmark_summary import BenchmarkSummary, Scores
from storage.model_rows import ModelRow

_PARTS = {"film": "filming", "label": "labelling", "train": "training"}


def show_models(rows: Sequence[ModelRow]) -> None:
    """Trained models, a line each."""
    if not rows:
        output().print("No models; `ovseg3r train` makes one of published scenes.")
        return
    table = Table()
    for name in ("model", "size", "trained", "scenes", "names", "steps", "text", "AP", "AP50", "AP25", "MB"):
        table.add_column(name, justify="left" if name in ("model", "size", "trained", "text") else "right")
    for row in rows:
        scores = [_percent(row.metrics.get(name, math.nan)) for name in ("AP", "AP50", "AP25")]
        table.add_row(
            row.model_id, row.size, row.created_at[:16].replace("T", " "), str(row.scenes), str(row.vocabulary),
            str(row.steps), row.text_encoder.partition("-")[0], *scores, f"{row.bytes / 1e6:.1f}",
        )  # fmt: skip
    output().print(table)


def show_found(report: dict[str, Any]) -> None:
    """What a model found in one scene."""
    out = output()
    for note in report["notes"]:
        out.print(f"note: {note}")
    table = Table(title=f"{len(report['instances'])} instances in {report['scene_id']}, {report['seconds']:.1f} s")
    table.add_column("name")
    table.add_column("score", justify="right")
    table.add_column("points", justify="right")
    for found in report["instances"][:40]:
        table.add_row(found["name"], f"{found['score']:.2f}", str(found["points"]))
    out.print(table)
    out.print(f"All of them, their masks and a picture are in {report['folder']}.")


def show_summary(summary: BenchmarkSummary, per_class: bool, learned_from: Sequence[str] = ()) -> None:
    """AP in percent, as the benchmark gives it. learned_from: those of the scenes that the model was trained on."""
    if learned_from:
        output().print(
            f"note: the model was trained on {len(learned_from)} of these scenes ({', '.join(learned_from[:5])}"
            f"{' ...' if len(learned_from) > 5 else ''}); choose others with --tag or --scene to know how good it is.",
            highlight=False,
            soft_wrap=True,
        )
    table = Table(title=f"Instance AP on {summary.scenes} scenes")
    for name in ("", "AP", "AP50", "AP25", "classes"):
        table.add_column(name, justify="left" if not name else "right")
    _add(table, "all", summary.overall)
    _add(table, "masks, whatever their names", summary.class_agnostic)
    for name, scores in summary.subsets.items():
        if scores.classes:
            _add(table, name, scores)
    if per_class:
        table.add_section()
        for name, scores in summary.per_class.items():
            if scores.classes:
                _add(table, name, scores)
    output().print(table)


def show_demo_train(report: dict[str, Any]) -> None:
    """What the network learned of the demo's rooms."""
    out = output()
    seconds, last = report["seconds"], report["rooms"][-1]
    took = ", ".join(f"{seconds[part]:.0f} s of {name}" for part, name in _PARTS.items())
    out.print(
        f"\n{len(report['rooms']) - 1} rooms labelled, room {last} kept to judge by; {took}, "
        f"{seconds['total']:.0f} s in all",
        highlight=False,
        soft_wrap=True,
    )
    table = Table(title=f"Instance AP of the kinds it was trained on, in room {last}, which it never saw")
    for name in ("asked for by", "AP", "AP50", "AP25", "kinds", "masks alone: AP50"):
        table.add_column(name, justify="left" if name == "asked for by" else "right")
    for words, scores in report["scores"].items():
        found = scores["overall"]
        figures = [_percent(found[name]) for name in ("ap", "ap50", "ap25")]
        table.add_row(words, *figures, str(found["classes"]), _percent(scores["class_agnostic"]["ap50"]))
    out.print(table)
    asked = ", ".join(f"{word} ({name})" for name, word in report["asked"].items())
    out.print(f"Asked for: {asked}", highlight=False, soft_wrap=True)
    out.print("Pictures:")
    for path in report["pictures"]:
        out.print(f"  {path}", markup=False, highlight=False, soft_wrap=True)


def _add(table: Table, name: str, scores: Scores) -> None:
    table.add_row(name, *map(_percent, (scores.ap, scores.ap50, scores.ap25)), str(scores.classes))


def _percent(share: float) -> str:
    return "" if math.isnan(share) else f"{100 * share:.1f}"
