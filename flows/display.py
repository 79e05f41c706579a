"""What people see: a progress bar in a terminal, log lines elsewhere, tables at the end."""

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from storage.catalog_rows import CatalogRow
from storage.garbage import GcReport
from tasks.progress import Progress as StageProgress
from tasks.progress import listening

if TYPE_CHECKING:
    from flows.doctor import Finding
    from flows.scenes import SceneResult


def output() -> Console:
    """Where tables go."""
    # a table that does not fit a pipe's imagined 80 columns would be cut; there it may be as wide as it needs
    return Console() if sys.stdout.isatty() else Console(width=160)


@contextmanager
def progress_shown(quiet: bool = False) -> Iterator[None]:
    """Inside, the stages' progress is shown on stderr: as bars in a terminal, as log lines elsewhere, not at all when
    ``quiet``.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
    logger = logging.getLogger("ovseg3r")
    logger.addHandler(handler)
    logger.propagate = False
    terminal = sys.stderr.isatty()
    logger.setLevel(logging.WARNING if quiet or terminal else logging.INFO)
    try:
        if terminal and not quiet:
            with _bars():
                yield
        else:
            yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def _bars() -> Iterator[None]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        known: dict[tuple[str, str], TaskID] = {}

        def listener(event: StageProgress) -> None:
            key = (event.scene_id, event.stage)
            if key not in known:
                known[key] = bars.add_task(f"{event.scene_id}: {event.stage}", total=event.total)
            text = f"{event.scene_id}: {event.stage}" + (" (reused)" if event.reused else "")
            bars.update(known[key], completed=event.done, total=event.total, description=text)

        with listening(listener):
            yield


def show_results(results: "Sequence[SceneResult]") -> None:
    """The summary of a labelling run: a table, then every warning and failure in full."""
    console = output()
    table = Table(title="Scenes")
    for name in ("scene", "status"):
        table.add_column(name, overflow="fold")
    for name in ("views", "points", "2D instances", "superpoints", "labelled", "seconds"):
        table.add_column(name, justify="right")
    for r in results:
        counts = ["-"] * 5
        if r.row is not None:
            row = r.row
            counts = [f"{n:,}" for n in (row.views, row.points, row.instances, row.superpoints)]
            counts.append(f"{row.quality.get('labelled_share', float('nan')):.0%}")
        table.add_row(r.scene_id, r.status, *counts, f"{r.seconds:.1f}")
    console.print(table)
    for r in results:
        for note in r.notes:
            console.print(f"note: {r.scene_id}: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)
        if r.status == "unchanged":
            what = "reconstructed" if r.row is None else "published"
            console.print(
                f"{r.scene_id}: already {what} with these settings, nothing to do.", markup=False, soft_wrap=True
            )
        elif r.status == "skipped":
            console.print(f"skipped: {r.scene_id}: {r.message}", markup=False, highlight=False, soft_wrap=True)
        elif r.message:
            console.print(
                f"error: {r.scene_id}: {r.message}", style="red", markup=False, highlight=False, soft_wrap=True
            )
        if r.row is not None:
            console.print(f"{r.scene_id}: {r.row.uri}", markup=False, highlight=False, soft_wrap=True)


def show_reconstruction(report: dict[str, Any]) -> None:
    """One reconstruction: what it is, how good it is, and every warning in full."""
    console = output()
    unit = "m" if report["scale_known"] else "units"
    rows = {
        "engine": report["engine"],
        "keyframes with a camera": f"{report['registered']:,} of {report['keyframes']:,}",
        "points": f"{report['points']:,}",
        "observations": f"{report['observations']:,}",
        "voxel": f"{report['voxel_size']:.4g} {unit}",
        "scale": "known" if report["scale_known"] else "unknown",
        "world frame": report["world_frame"],
        "seconds": ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in report["seconds"].items()),
    }
    rows |= {name.replace("_", " "): f"{value:.4g}" for name, value in report["quality"].items()}
    console.print(_two_columns(f"Reconstruction of {report['scene_id']}", rows))
    if "against" in report:
        _show_judgement(console, report["against"], unit)
    for note in report["notes"]:
        console.print(f"note: {note}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    for path in (report["output"], *report["pictures"]):
        console.print(path, markup=False, highlight=False, soft_wrap=True)


def _show_judgement(console: Console, judged: dict[str, Any], unit: str) -> None:
    rows = {
        "keyframes in the reference": f"{judged['matched']:,} (by {judged['matched_by']}), "
        f"{judged['judged_views']:,} with a camera",
        "position error, rms": f"{judged['ate_rmse']:.4g} m",
        "position error, largest": f"{judged['ate_max']:.4g} m",
        "rotation error, median": f"{judged['rotation_median_degrees']:.3g} degrees",
        "scale": f"{judged['scale']:.5g} m per {'m' if unit == 'm' else 'unit'}",
    }
    depth = judged["depth"]
    if depth is not None:
        rows |= {
            "depth: share of the reference's pixels": f"{depth['coverage']:.1%}",
            "depth: median relative error": f"{depth['median_relative']:.2%}",
            "depth: median error with its sign": f"{depth['bias']:+.2%}",
            "depth: within 2 %": f"{depth['accurate']:.1%}",
            "depth: within 5 %": f"{depth['close']:.1%}",
            "depth: confidence is off by": f"{depth['calibration_error']:.3f}",
        }
    console.print(_two_columns(f"Beside {judged['source']}", rows))
    if depth is None:
        return
    table = Table(title="Is depth right as often as its confidence says?")
    for name in ("confidence", "within 2 %", "median error", "pixels"):
        table.add_column(name, justify="right")
    for row in depth["calibration"]:
        if row["pixels"]:
            shares = (row["confidence"], row["within_2_percent"])
            table.add_row(*(f"{x:.2f}" for x in shares), f"{row['median_error']:.2%}", f"{row['pixels']:,.0f}")
    console.print(table)


def _two_columns(title: str, rows: dict[str, str]) -> Table:
    table = Table(title=title, show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def show_catalog(rows: Sequence[CatalogRow]) -> None:
    """One line a scene."""
    table = Table(title="Published scenes")
    for name in ("scene", "digest", "published (UTC)"):
        table.add_column(name, overflow="fold")
    for name in ("views", "points", "2D instances", "labels", "superpoints", "MB"):
        table.add_column(name, justify="right")
    for name in ("annotation", "tags"):
        table.add_column(name, overflow="fold")
    for row in rows:
        counts = (row.views, row.points, row.instances, len(row.label_histogram), row.superpoints)
        figures = (*(f"{n:,}" for n in counts), f"{row.bytes / 1e6:.1f}")
        named = (row.scene_id, row.digest[:12], row.published_at[:19])
        table.add_row(*named, *figures, row.annotation, Text(" ".join(row.tags)))  # as they are: no ":bed:" becomes one
    output().print(table)


def show_scene(description: dict[str, Any]) -> None:
    """Everything of one scene, section by section."""
    console = output()
    arrays = Table(title=f"Scene {description['scene_id']}")
    for name in ("array", "shape", "dtype"):
        arrays.add_column(name)
    arrays.add_column("stored MB", justify="right")
    arrays.add_column("ratio", justify="right")
    for array in description["arrays"]:
        shape = " x ".join(f"{n:,}" for n in array["shape"])
        arrays.add_row(
            array["name"], shape, array["dtype"], f"{array['stored_bytes'] / 1e6:.2f}", f"{array['ratio']:.1f}"
        )
    console.print(arrays)
    for section in (
        "counts",
        "tags",
        "labels",
        "quality",
        "timings",
        "stages",
        "engines",
        "software",
        "notes",
        "faults",
        "pictures",
    ):
        value = description.get(section)
        if value:
            console.print(section, style="bold")
            _print_values(console, value)
    console.print("settings", style="bold")
    for stage, settings in description["settings"].items():
        console.print(f"  {stage}: {settings}", markup=False, soft_wrap=True)
    digests = ("source_digest", "digest", "content_digest")
    for name in ("annotation", "uri", "source", *digests, "published_at", "seed", "bytes"):
        console.print(f"{name}: {description[name]}", markup=False, highlight=False, soft_wrap=True)


def _print_values(console: Console, value: Any) -> None:
    items = value.items() if isinstance(value, dict) else ((None, v) for v in value)
    for name, item in items:
        text = f"{item:.4g}" if isinstance(item, float) else str(item)
        console.print(
            f"  {text}" if name is None else f"  {name}: {text}", markup=False, highlight=False, soft_wrap=True
        )


def show_garbage(report: GcReport) -> None:
    """What went, or would go."""
    console = output()
    verb = "would remove" if report.dry_run else "removed"
    console.print(
        f"{verb} {report.objects:,} objects, {report.bytes / 1e6:.1f} MB: {report.attempts} unfinished attempts, "
        f"{report.parts} sets of parts, {report.outputs} stage outputs, {report.scenes} replaced scenes, "
        f"{report.models} replaced models, {report.leftovers} scenes or models never listed, "
        f"{report.temporary} temporary files",
        soft_wrap=True,
    )
    if report.dry_run and report.objects:
        console.print("run again with --delete to remove them")


def show_findings(findings: "Sequence[Finding]") -> None:
    """The doctor's report."""
    console = output()
    table = Table(title="Environment")
    for name in ("", "what", "state", "what to do"):
        table.add_column(name, overflow="fold")
    for f in findings:
        mark = "ok" if f.good else ("MISSING" if f.needed else "-")
        table.add_row(mark, *map(Text, (f.what, f.state, f.advice)))  # as they are: "[extra]" is no markup
    console.print(table)


def show_demo(report: dict[str, Any]) -> None:
    """The demo's scores and where its pictures are."""
    console = output()
    console.print(
        f"\nRoom {report['seed']}: {report['objects']} objects ({report['flat_objects']} of them flat), filmed in "
        f"{report['filming']:.0f} s; {report['seconds']:.0f} s in all",
        highlight=False,
        soft_wrap=True,
    )
    timing = Table(title="Seconds per stage")
    scored = report["scores"]
    timing.add_column("labelled")
    for name in next(iter(scored.values()))["timings"]:
        timing.add_column(name, justify="right")
    geometry = Table(title="Reconstruction against the room's truth")
    for name in ("labelled", "views", "points", "cameras off by", "points off by (median)", "points off by (95 %)"):
        geometry.add_column(name, justify="right" if name != "labelled" else "left")
    table = Table(title="Superpoints against the room's truth")
    for name in ("labelled", "rule", "superpoints", "purity", "boundary recall", "oracle AP", "oracle AP, flat"):
        table.add_column(name, justify="left" if name in ("labelled", "rule") else "right")
    lifted = Table(title="Lifted annotation against the room's truth")
    for name in (
        "labelled",
        "2D instances",
        "on the right object",
        "with a right name",
        "of the objects' observations",
    ):
        lifted.add_column(name, justify="right" if name != "labelled" else "left")
    for way, found in scored.items():
        scene, off, lift = found["scene"], found["geometry"], found["lifted"]
        timing.add_row(way, *(f"{seconds:.1f}" for seconds in found["timings"].values()))
        lengths = (off["ate_m"], off["point_error_median_m"], off["point_error_p95_m"])
        geometry.add_row(
            way, str(scene["views"]), f"{scene['points']:,}", *(f"{100 * length:.2f} cm" for length in lengths)
        )
        for rule, q in found["superpoints"].items():
            figures = (q["purity"], q["boundary_recall"], q["oracle_ap"], q["oracle_ap_flat"])
            table.add_row(way, rule, f"{q['superpoints']:,}", *(f"{100 * x:.1f}" for x in figures))
        table.add_section()
        shares = (lift["accuracy"], lift["name_accuracy"], lift["recall"])
        lifted.add_row(way, f"{scene['instances']:,}", *(f"{share:.1%}" for share in shares))
    for each in (timing, geometry, table, lifted):
        console.print(each)
    console.print("Pictures:")
    for path in report["pictures"]:
        console.print(f"  {path}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"Store: {report['store']}   (try: ovseg3r catalog --store {report['store']})", highlight=False, soft_wrap=True
    )
