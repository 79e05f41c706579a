"""The command line. Everything heavy is imported inside the commands, so that help appears at once."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows import cli_cluster, cli_import, cli_runs, cli_train, cli_weights
from flows import cli_options as options
from flows.cli_process import FAILED, errors_for_people, print_json, stopping_soon
from flows.cli_scenes import run_and_show, show_ended

app = typer.Typer(
    name="ovseg3r",
    help="Open-vocabulary 3D instance labels from video: no mesh, no manual 3D annotation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(cli_weights.app)
app.add_typer(cli_cluster.app)
app.command("import")(cli_import.import_scenes)
for command in (
    cli_runs.status,
    cli_runs.retry,
    cli_train.train,
    cli_train.models,
    cli_train.segment,
    cli_train.evaluate,
):
    app.command()(command)


@app.command()
def label(
    context: typer.Context,
    sources: Annotated[
        list[str] | None, typer.Argument(help="Videos or folders of recordings, URLs, or patterns; one scene each.")
    ] = None,
    manifest: options.Manifest = None,
    reconstruct: options.Reconstruct = None,
    reconstruction: options.Reconstruction = None,
    min_registered: options.MinRegistered = None,
    scale_from: options.ScaleFrom = None,
    color_only: options.ColorOnly = False,
    segment: options.Segment = None,
    prompt: options.Prompt = None,
    vocabulary: options.Words = None,
    masks: options.Masks = None,
    detector: options.Detector = None,
    sam: options.Sam = None,
    truth: options.Truth = None,
    device: options.Device = None,
    features: options.Features = False,
    feature_size: options.FeatureSize = None,
    max_views: options.MaxViews = None,
    voxel: options.Voxel = None,
    cut: options.Cut = None,
    source_format: options.SourceFormat = None,
    color_intrinsics: options.ColorIntrinsics = None,
    depth_intrinsics: options.DepthIntrinsics = None,
    scene_id: Annotated[str | None, typer.Option(help="Name of the scene; one source only.")] = None,
    tag: options.Tag = None,
    workers: options.Workers = None,
    runner: options.Runner = None,
    runner_address: options.RunnerAddress = None,
    skip_failed: options.SkipFailed = False,
    until: options.Until = None,
    seed: options.Seed = None,
    config: options.Config = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Label recordings: reconstruct, segment, lift, group, validate, publish.

    A run that was killed goes on where it was; what is published already is left as it is. Exit code 1 if a scene
    failed, 2 for bad input.
    """
    with errors_for_people():
        from flows.local_server import server_is_named
        from flows.runners import check_runner
        from flows.settings import name_scenes
        from flows.standing import already_done
        from ovseg3r_model.segmentation import build_segmenter

        parameters = _parameters(context, config)
        check_runner(parameters)
        scenes = name_scenes(parameters)  # what is wrong here is told before the seconds that a server takes
        if parameters.until is None and parameters.runner_address is None:
            # a manifest may bring masks for some: one with them and one without say all
            for settings in {s.settings.segment.masks is None: s.settings for s in scenes}.values():
                build_segmenter(settings.segment, settings.features.save)
        opened = _open(parameters.store, create=True)
        opened.check_writable()
        if not server_is_named():  # else somebody may look at the run
            done = already_done(opened, scenes, parameters.skip_failed, parameters.until)
            if done is not None:
                show_ended(done, as_json)
        run_and_show("flows.generate_labels", parameters, as_json)


@app.command()
def reconstruct(
    context: typer.Context,
    sources: Annotated[
        list[str] | None, typer.Argument(metavar="SOURCE", help="A video or the folder of a recording.")
    ] = None,
    reconstruct: options.Reconstruct = None,
    reconstruction: options.Reconstruction = None,
    min_registered: options.MinRegistered = None,
    scale_from: options.ScaleFrom = None,
    color_only: options.ColorOnly = False,
    max_views: options.MaxViews = None,
    voxel: options.Voxel = None,
    source_format: options.SourceFormat = None,
    color_intrinsics: options.ColorIntrinsics = None,
    depth_intrinsics: options.DepthIntrinsics = None,
    against: Annotated[
        str | None, typer.Option(help="Recording with poses, and depth if it has it, to judge by.")
    ] = None,
    against_format: options.SourceFormat = None,
    against_color_intrinsics: options.ColorIntrinsics = None,
    against_depth_intrinsics: options.DepthIntrinsics = None,
    pictures: Annotated[
        Path | None,
        typer.Option(help="Folder for pictures and report.json [default with --against: reconstruction-pictures]."),
    ] = None,
    seed: options.Seed = None,
    config: options.Config = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Reconstruct one recording, as label would, and stop; --against judges cameras and depth by a reference.

    Label finds the work done. Exit code 2 for bad input.
    """
    with errors_for_people():
        from flows.settings import checked_reference, only_scene

        parameters = _parameters(context, config)
        only_scene(parameters)
        judged_by = checked_reference(options.given(context, options.REFERENCE))
        _open(parameters.store, create=True).check_writable()
        from flows.local_server import prefect_server

        with prefect_server("flows.reconstruct_only"), stopping_soon():
            from flows.display import progress_shown, show_reconstruction
            from flows.reconstruct_only import reconstruct_only

            with progress_shown(quiet=as_json):
                report = reconstruct_only(parameters, judged_by, None if pictures is None else str(pictures))
        if as_json:
            print_json(report)
        else:
            show_reconstruction(report)


@app.command()
def catalog(
    every: Annotated[
        bool, typer.Option("--all", help="Also versions that a newer one of the scene has replaced.")
    ] = False,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """List the published scenes."""
    with errors_for_people():
        from dataclasses import asdict

        from storage.catalog import Catalog

        rows = Catalog(_open(store)).rows(latest_only=not every)
        if as_json:
            print_json([asdict(row) for row in rows])
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
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Show one scene: arrays, counts, sizes, digests, timings, settings."""
    with errors_for_people():
        from flows.inspect_scene import describe, save_pictures

        opened = _open(store)
        description = describe(opened, scene, verify=verify)
        if pictures is not None:
            description["pictures"] = save_pictures(opened, scene, pictures)
        if as_json:
            print_json(description)
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
        bool, typer.Option("--superseded", help="Also published scenes and models that a newer version replaced.")
    ] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete; without it, only say what would go.")] = False,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Remove what killed runs left, and on request intermediate outputs, replaced scenes and replaced models; merge the
    files of the catalogs.

    Not beside a run with a short --older-than: what it is writing may look left behind.
    """
    with errors_for_people():
        from dataclasses import asdict

        from storage.catalog import Catalog, ModelCatalog
        from storage.garbage import collect_garbage
        from storage.source_memory import SourceMemory
        from storage.stages import Stages

        opened = _open(store)
        report = collect_garbage(
            opened, older_than, intermediates=intermediates, superseded=superseded, dry_run=not delete
        )
        if delete:
            Catalog(opened).compact()
            ModelCatalog(opened).compact()
            scenes = {row.digest for row in Catalog(opened).rows(latest_only=False)}
            SourceMemory(opened).keep_only(scenes | Stages(opened).digests("reconstruct"))
        if as_json:
            print_json(asdict(report))
        else:
            from flows.display import show_garbage

            show_garbage(report)


@app.command()
def doctor(store: options.Store = None, as_json: options.Json = False) -> None:
    """Check the environment, the engines and their weights, and say what to install. Exit code 1 if something needed
    lacks.
    """
    with errors_for_people():
        from flows.doctor import examine

        findings = examine(store or _default_store())
        if as_json:
            print_json([f.plain() for f in findings])
        else:
            from flows.display import show_findings

            show_findings(findings)
        raise typer.Exit(FAILED if any(f.needed and not f.good for f in findings) else 0)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the room, the store and the pictures go.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed is another room.")] = 0,
    views: Annotated[int, typer.Option(min=8, max=1000, help="Frames of the walk through the room.")] = 90,
    train: Annotated[
        bool, typer.Option("--train", help="Label a few rooms instead, train a network, segment a room it never saw.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Make a furnished room, film it, label the video from imperfect masks, and score the labels against the truth,
    beside those made with the true depth; or, with --train, what a network learns from such labels.
    """
    with errors_for_people():
        from flows.local_server import prefect_server

        with prefect_server("flows.demo_train" if train else "flows.demo"), stopping_soon():
            from flows.demo import run_demo
            from flows.demo_train import run_demo_train
            from flows.display import progress_shown, show_demo
            from flows.display_models import show_demo_train

            with progress_shown(quiet=as_json):
                report = run_demo_train(folder, seed) if train else run_demo(folder, seed, views)
        if as_json:
            print_json(report)
        elif train:
            show_demo_train(report)
        else:
            show_demo(report)


def main() -> None:
    """The console script."""
    app()


def _default_store() -> str:
    from flows.settings import DEFAULT_STORE

    return DEFAULT_STORE


def _open(store: str | None, create: bool = False) -> Any:
    from storage.store import Store as OpenStore

    return OpenStore.open(store or _default_store(), create=create)


def _parameters(context: typer.Context, config: Path | None) -> Any:
    """What the configuration and, over it, the options say."""
    from flows.settings import checked, read_config
    from ovseg3r_model.settings import merged

    return checked(merged(read_config(config) if config else {}, options.given(context, options.LABEL)))
