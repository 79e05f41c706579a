"""The command line. Everything heavy is imported inside the commands, so that help appears at once."""

import json
import math
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="ovseg3r",
    help="Open-vocabulary 3D instance labels from video: no mesh, no manual 3D annotation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

BAD_INPUT = 2
FAILED = 1
INTERRUPTED = 130

Store = Annotated[
    str | None,
    typer.Option("--store", envvar="OVSEG3R_STORE", help="Folder or URL of the store [default: ovseg3r-store]."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


@app.command()
def label(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Videos or folders of recordings; one scene each.")
    ] = None,
    reconstruct: Annotated[
        str | None, typer.Option(help="Reconstruction engine: auto, posed-rgbd, colmap, imported.")
    ] = None,
    reconstruction: Annotated[str | None, typer.Option(help="Another system's reconstruction, for imported.")] = None,
    min_registered: Annotated[
        float | None, typer.Option(help="Smallest share of keyframes that must get a camera [default: 0.5].")
    ] = None,
    scale_from: Annotated[
        str | None,
        typer.Option(help="What settles the scale: depth, positions:FILE.csv, length:FRAME,X1,Y1,X2,Y2=METRES."),
    ] = None,
    color_only: Annotated[
        bool, typer.Option("--color-only", help="Take the pictures alone, as of plain video.")
    ] = False,
    segment: Annotated[str | None, typer.Option(help="2D segmentation engine: auto, imported, regions.")] = None,
    masks: Annotated[
        str | None, typer.Option(help="COCO instances JSON, or folder of id-map PNGs, for imported.")
    ] = None,
    max_views: Annotated[int | None, typer.Option(help="Most keyframes a source [default: 200].")] = None,
    voxel: Annotated[
        float | None, typer.Option(help="Fusion grid [default: 0.02 m, or 1/300 of the scene without scale].")
    ] = None,
    cut: Annotated[
        str | None, typer.Option(help="IBSp rule: contested-last, majority, any, unlabelled-never-cuts.")
    ] = None,
    source_format: Annotated[
        str | None, typer.Option(help="auto, video, images, 7scenes, scannet, tum, nerfstudio.")
    ] = None,
    color_intrinsics: Annotated[str | None, typer.Option(metavar="FX,FY,CX,CY", help="Of the colour camera.")] = None,
    depth_intrinsics: Annotated[str | None, typer.Option(metavar="FX,FY,CX,CY", help="Of the depth camera.")] = None,
    scene_id: Annotated[str | None, typer.Option(help="Name of the scene; one source only.")] = None,
    workers: Annotated[int | None, typer.Option(help="Scenes at the same time [default: 1].")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every random choice [default: 0].")] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML or JSON with the flow's parameters; options override it.")
    ] = None,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Label recordings: reconstruct, segment, lift, group, validate, publish.

    A run that was killed goes on where it was; what is published already is left as it is. Exit code 1 if a scene
    failed, 2 for bad input.
    """
    with _errors_for_people():
        from flows.settings import checked, merged, name_scenes, read_config
        from ovseg3r_model.segmentation import build_segmenter

        given = _nested(
            {
                "sources": sources or None,
                "store": store,
                "scene_id": scene_id,
                "workers": workers,
                "pipeline.seed": seed,
                "pipeline.ingest.max_views": max_views,
                "pipeline.ingest.source_format": source_format,
                "pipeline.reconstruct.engine": reconstruct,
                "pipeline.reconstruct.reconstruction": reconstruction,
                "pipeline.reconstruct.sfm.min_registered": min_registered,
                "pipeline.reconstruct.scale_from": scale_from,
                "pipeline.reconstruct.voxel": voxel,
                "pipeline.ingest.color_only": color_only or None,
                "pipeline.ingest.color_intrinsics": _numbers(color_intrinsics),
                "pipeline.ingest.depth_intrinsics": _numbers(depth_intrinsics),
                "pipeline.segment.engine": segment,
                "pipeline.segment.masks": masks,
                "pipeline.superpoints.cut": cut,
            }
        )
        parameters = checked(merged(read_config(config) if config else {}, given))
        name_scenes(parameters)  # what is wrong here is told before the seconds that a server takes
        _open(parameters.store, create=True).check_writable()
        build_segmenter(parameters.pipeline.segment)
        from flows.local_server import prefect_server

        with prefect_server(), _stopping_soon():
            from flows.display import progress_shown, show_results
            from flows.generate_labels import run

            with progress_shown(quiet=as_json):
                results = run(parameters)
        if as_json:
            _print_json([r.plain() for r in results])
        else:
            show_results(results)
        raise typer.Exit(_exit_code([r.status for r in results]))


@app.command()
def catalog(
    every: Annotated[
        bool, typer.Option("--all", help="Also versions that a newer one of the scene has replaced.")
    ] = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """List the published scenes."""
    with _errors_for_people():
        from dataclasses import asdict

        from storage.catalog import Catalog

        rows = Catalog(_open(store)).rows(latest_only=not every)
        if as_json:
            _print_json([asdict(row) for row in rows])
        else:
            from flows.display import show_catalog

            show_catalog(rows)


@app.command()
def show(
    scene: Annotated[str, typer.Argument(help="Scene id, as listed by `ovseg3r catalog`.")],
    pictures: Annotated[Path | None, typer.Option(help="Write the scene's pictures into this folder.")] = None,
    verify: Annotated[
        bool, typer.Option(help="Read everything and check it against its digest and the schema.")
    ] = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Show one scene: arrays, counts, sizes, digests, timings, settings."""
    with _errors_for_people():
        from flows.inspect_scene import describe, save_pictures

        opened = _open(store)
        description = describe(opened, scene, verify=verify)
        if pictures is not None:
            description["pictures"] = save_pictures(opened, scene, pictures)
        if as_json:
            _print_json(description)
        else:
            from flows.display import show_scene

            show_scene(description)
        if description.get("faults"):
            raise typer.Exit(FAILED)


@app.command()
def gc(
    older_than: Annotated[
        float, typer.Option(min=0, help="Only what was last written more hours ago than this.")
    ] = 24.0,
    intermediates: Annotated[
        bool,
        typer.Option("--intermediates", help="Also outputs of stages: a changed setting then starts from the source."),
    ] = False,
    superseded: Annotated[
        bool, typer.Option("--superseded", help="Also published scenes that a newer version replaced.")
    ] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete; without it, only say what would go.")] = False,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Remove what killed runs left, and on request intermediate outputs and replaced scenes; merge the catalog's files.

    Not beside a run with a short --older-than: what it is writing may look left behind.
    """
    with _errors_for_people():
        from dataclasses import asdict

        from storage.catalog import Catalog
        from storage.garbage import collect_garbage

        opened = _open(store)
        report = collect_garbage(
            opened, older_than, intermediates=intermediates, superseded=superseded, dry_run=not delete
        )
        if delete:
            Catalog(opened).compact()
        if as_json:
            _print_json(asdict(report))
        else:
            from flows.display import show_garbage

            show_garbage(report)


@app.command()
def doctor(store: Store = None, as_json: Json = False) -> None:
    """Check the environment, the engines and their weights, and say what to install. Exit code 1 if something needed
    lacks.
    """
    with _errors_for_people():
        from flows.doctor import examine

        findings = examine(store or _default_store())
        if as_json:
            _print_json([f.plain() for f in findings])
        else:
            from flows.display import show_findings

            show_findings(findings)
        raise typer.Exit(FAILED if any(f.needed and not f.good for f in findings) else 0)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the room, the store and the pictures go.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another room.")] = 0,
    views: Annotated[int, typer.Option(min=8, max=1000, help="Frames of the walk through the room.")] = 90,
    as_json: Json = False,
) -> None:
    """Make a furnished room, film it, label the film from imperfect masks, and score the labels against the truth."""
    with _errors_for_people():
        from flows.local_server import prefect_server

        with prefect_server(), _stopping_soon():
            from flows.demo import run_demo
            from flows.display import progress_shown, show_demo

            with progress_shown(quiet=as_json):
                report = run_demo(folder, seed, views)
        if as_json:
            _print_json(report)
        else:
            show_demo(report)


def main() -> None:
    """The console script."""
    app()


@contextmanager
def _errors_for_people() -> Iterator[None]:
    """Bad input becomes one sentence and exit code 2; an interrupted run says that it can be continued."""
    from ovseg3r_model.errors import InputError

    try:
        yield
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from error
    except KeyboardInterrupt as error:
        typer.echo("stopped; the same command goes on where it was", err=True)
        raise typer.Exit(INTERRUPTED) from error


@contextmanager
def _stopping_soon() -> Iterator[None]:
    """Inside, Ctrl-C ends the running stage at its next step, and a second one ends the process at once."""
    from tasks.progress import stop

    def interrupted(*_: object) -> None:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        typer.echo("stopping at the next step; Ctrl-C again stops at once", err=True)
        stop()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _exit_code(statuses: list[str]) -> int:
    """0 if all is well, 2 if nothing but bad input came of it, else 1."""
    failures = [s for s in statuses if s in ("failed", "bad-input")]
    if not failures:
        return 0
    return BAD_INPUT if len(failures) == len(statuses) and "failed" not in failures else FAILED


def _default_store() -> str:
    from flows.settings import DEFAULT_STORE

    return DEFAULT_STORE


def _open(store: str | None, create: bool = False) -> Any:
    from storage.store import Store as OpenStore

    return OpenStore.open(store or _default_store(), create=create)


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    """{"a.b": 1} to {"a": {"b": 1}}, without what is None."""
    out: dict[str, Any] = {}
    for path, value in flat.items():
        if value is None:
            continue
        *parents, name = path.split(".")
        place = out
        for parent in parents:
            place = place.setdefault(parent, {})
        place[name] = value
    return out


def _numbers(text: str | None) -> list[str] | None:
    """The parts of "fx,fy,cx,cy"; the settings' model judges them."""
    return None if text is None else text.split(",")


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(_finite(value), indent=1, default=str, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    """The value with null where a number is not finite, which JSON cannot say."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
