"""`ovseg3r train`, `segment`, `evaluate`, `models`: from published scenes to a network, and what it finds."""

from pathlib import Path
from typing import Annotated, Any

import typer

from flows import cli_options as options
from flows.cli_process import errors_for_people, print_json, stopping_soon

Scenes = Annotated[
    list[str] | None, typer.Option("--scene", help="Scene id, or a glob such as 'kitchen-*'; may be repeated.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1 ... [default: auto].")]

TRAIN = {
    "model": "model_id",
    "store": "store",
    "scenes": "scenes.scenes",
    "tag": "scenes.tags",
    "without_tag": "scenes.without_tags",
    "label": "scenes.labels",
    "annotation": "scenes.annotation",
    "published_after": "scenes.published_after",
    "published_before": "scenes.published_before",
    "limit": "scenes.limit",
    "held_out_scene": "held_out.scenes",
    "held_out_tag": "held_out.tags",
    "size": "model.size",
    "text": "model.text.engine",
    "steps": "model.train.steps",
    "batch": "model.train.batch",
    "learning_rate": "model.train.optimiser.learning_rate",
    "device": "model.train.device",
    "processes": "model.train.processes",
    "backbone": "model.train.backbone",
    "seed": "model.train.seed",
    "workers": "schedule.data.workers",
    "checkpoint_every": "schedule.checkpoint_every",
    "evaluate_every": "schedule.evaluate_every",
    "tensorboard": "schedule.tensorboard",
}
"""By option: its place in ``flows.train_settings.TrainParameters``."""


def train(
    context: typer.Context,
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Name of the model [default: segmenter].")
    ] = None,
    size: Annotated[str | None, typer.Option(help="tiny (a CPU, minutes), small, base (the paper's) [base].")] = None,
    scenes: Scenes = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only scenes with this tag; may be repeated.")] = None,
    without_tag: Annotated[list[str] | None, typer.Option(help="No scenes with this tag; may be repeated.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only scenes that hold this name; may be repeated.")] = None,
    annotation: Annotated[
        str | None, typer.Option(help="Only scenes annotated by views, or as a whole: scene.")
    ] = None,
    published_after: Annotated[str | None, typer.Option(help="Date or time, UTC.")] = None,
    published_before: Annotated[str | None, typer.Option(help="Date or time, UTC.")] = None,
    min_quality: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Only scenes whose quality figure is so high; may be repeated."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many scenes.")] = None,
    held_out_scene: Annotated[
        list[str] | None, typer.Option(help="Scene with truth to evaluate on, or a glob; may be repeated.")
    ] = None,
    held_out_tag: Annotated[list[str] | None, typer.Option(help="The same by tag.")] = None,
    text: Annotated[str | None, typer.Option(help="Text encoder: auto, clip, minilm [default: auto].")] = None,
    no_vip: Annotated[bool, typer.Option("--no-vip", help="Without VIP, as in the paper's ablation.")] = False,
    no_features: Annotated[bool, typer.Option("--no-features", help="Leave the scenes' 2D features.")] = False,
    steps: Annotated[int | None, typer.Option(help="Steps of the optimiser [default: the size's].")] = None,
    batch: Annotated[int | None, typer.Option(help="Scenes a step [default: the size's].")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At the start [default: the size's].")] = None,
    evaluate_every: Annotated[int | None, typer.Option(help="Steps between evaluations [default: once].")] = None,
    checkpoint_every: Annotated[int | None, typer.Option(help="Steps between checkpoints [default: 100].")] = None,
    tensorboard: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Write TensorBoard's scalars there.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that read scenes [default: 2].")] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="FILE", help="Mask3D's or SegDINO3D's backbone weights to start from.")
    ] = None,
    device: Device = None,
    processes: Annotated[
        int | None, typer.Option(help="Processes that share each batch, one GPU each [default: 1].")
    ] = None,
    seed: options.Seed = None,
    config: options.Config = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Train a network on published scenes, view by view (VIP) or as a whole, and publish it.

    A training that was killed goes on from its last checkpoint and ends with the same weights; one that is done is not
    done again. Exit code 2 for bad input.
    """
    with errors_for_people():
        from flows.settings import read_config, validated
        from flows.train_settings import TrainParameters
        from ovseg3r_model.settings import merged

        given = options.given(context, TRAIN)
        for off, places in ((no_vip, ("model", "train", "supervision", "vip")), (no_features, ("model", "features"))):
            if off:
                given = merged(given, _nested(places, False))
        if min_quality:
            given = merged(given, _nested(("scenes", "min_quality"), _figures(min_quality)))
        parameters = validated(TrainParameters, merged(read_config(config) if config else {}, given))
        opened = _open(parameters.store)
        from flows.train_settings import chosen_scenes

        chosen_scenes(opened, parameters)  # what is wrong here is told before the seconds that a server takes
        from flows.local_server import prefect_server

        with prefect_server("flows.train"), stopping_soon():
            from flows.display import progress_shown
            from flows.display_models import show_models
            from flows.train import train_model

            with progress_shown(quiet=as_json):
                row = train_model(parameters)
        if as_json:
            print_json(_plain(row))
        else:
            show_models([row])


def models(
    every: Annotated[
        bool, typer.Option("--all", help="Also those that a newer one of the same name replaced.")
    ] = False,
    pictures: Annotated[Path | None, typer.Option(help="Write the models' curves into this folder.")] = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """List the trained models."""
    with errors_for_people():
        from storage.catalog import ModelCatalog

        opened = _open(store)
        rows = ModelCatalog(opened).rows(latest_only=not every)
        if pictures is not None:
            from flows.written_files import write_curves

            write_curves(opened, rows, pictures)
        if as_json:
            print_json([_plain(row) for row in rows])
        else:
            from flows.display_models import show_models

            show_models(rows)


def segment(
    target: Annotated[str, typer.Argument(metavar="SCENE|SOURCE", help="Published scene, or a video or recording.")],
    prompt: options.Prompt = None,
    vocabulary: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="household, scannet200, or a phrase a line; else the model's."),
    ] = None,
    model: Annotated[str, typer.Option("--model", metavar="MODEL", help="Trained model.")] = "segmenter",
    out: Annotated[Path | None, typer.Option(help="Folder for what is found [default: found-SCENE].")] = None,
    min_score: Annotated[float | None, typer.Option(help="Less sure instances are left out [default: 0.05].")] = None,
    device: Device = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Find instances of any words in a scene by a trained model: masks, names, scores, and a picture.

    A source is reconstructed first, as label would, and grouped by its geometry; a published scene is taken as it is.
    """
    with errors_for_people():
        from flows.segment_settings import SegmentParameters, check_target
        from flows.settings import validated

        values: dict[str, Any] = {"target": target, "model": model}
        given = {"prompt": prompt, "vocabulary": vocabulary, "device": device, "store": store, "out": out and str(out)}
        values |= {name: value for name, value in given.items() if value is not None}
        if min_score is not None:
            values["inference"] = {"min_score": min_score}
        parameters = validated(SegmentParameters, values)
        check_target(parameters)
        from flows.local_server import prefect_server

        with prefect_server("flows.segment_scene"), stopping_soon():
            from flows.display import progress_shown
            from flows.display_models import show_found
            from flows.segment_scene import segment_scene

            with progress_shown(quiet=as_json):
                report = segment_scene(parameters)
        if as_json:
            print_json(report)
        else:
            show_found(report)


def evaluate(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Model id, as listed by `ovseg3r models`.")
    ] = None,
    scenes: Scenes = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only scenes with this tag; may be repeated.")] = None,
    vocabulary: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="Also ask for these: household, scannet200, or a phrase a line."),
    ] = None,
    words: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML or JSON: word to ask for instead of a name, by name.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write predictions and truth as the ScanNet benchmark's text.")
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Instead of a model: a folder of predictions in the benchmark's text, and ...")
    ] = None,
    truth: Annotated[Path | None, typer.Option(help="... the folder of their truth, by ScanNet200's ids.")] = None,
    per_class: Annotated[bool, typer.Option("--per-class", help="Also each class.")] = False,
    device: Device = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Judge a trained model on scenes whose truth is known, or files of the ScanNet benchmark: instance AP."""
    with errors_for_people():
        from dataclasses import asdict

        from flows.display import progress_shown
        from flows.display_models import show_summary
        from flows.evaluate_model import check_choice, evaluate_files, evaluate_model, learned_from
        from flows.settings import read_config, validated
        from ovseg3r_model.vocabulary import read_vocabulary
        from storage.selection import SelectionSettings

        seen: tuple[str, ...] = ()
        files = check_choice(model, predictions, truth)
        with progress_shown(quiet=as_json):
            if files is not None:
                summary = evaluate_files(*files)
            else:
                selection = validated(SelectionSettings, {"scenes": scenes or (), "tags": tag or ()})
                asked = {str(name): str(word) for name, word in read_config(words).items()} if words else {}
                more = read_vocabulary(vocabulary).phrases if vocabulary else ()
                opened = _open(store)
                summary = evaluate_model(opened, str(model), selection, asked, device or "auto", write, more)
                seen = learned_from(opened, str(model), selection)
        if as_json:
            print_json({**asdict(summary), "trained_on": seen})
        else:
            show_summary(summary, per_class, seen)


def _figures(given: list[str]) -> dict[str, float]:
    """The values by name. Raises InputError for what is not NAME=VALUE."""
    from ovseg3r_model.errors import InputError

    out = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            out[name.strip()] = float(value)
        except ValueError as error:
            raise InputError(
                f"--min-quality takes NAME=VALUE, such as labelled_share=0.2, not {text}; `ovseg3r show SCENE --json` "
                "lists the names."
            ) from error
    return out


def _nested(places: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in reversed(places):
        value = {name: value}
    out: dict[str, Any] = value
    return out


def _plain(row: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(row)


def _open(store: str | None) -> Any:
    from flows.settings import DEFAULT_STORE
    from storage.store import Store as OpenStore

    return OpenStore.open(store or DEFAULT_STORE, create=False)
