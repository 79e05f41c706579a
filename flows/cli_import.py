"""`ovseg3r import`: scenes with ground truth into the catalog."""

from typing import Annotated

import typer

from flows import cli_options as options
from flows.cli_process import errors_for_people
from flows.cli_scenes import run_and_show

PLACES = {
    "sources": "sources",
    "kind": "format",
    "tag": "tags",
    "workers": "workers",
    "voxel": "voxel",
    "max_views": "max_views",
    "features": "features.save",
    "feature_size": "features.size",
    "cut": "superpoints.cut",
    "store": "store",
}
"""By option: its place in ``flows.import_settings.ImportParameters``."""


def import_scenes(
    context: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE...", help="Rooms, ScanNet200-style scans, or folders that hold many of them."),
    ] = None,
    kind: Annotated[str | None, typer.Option("--format", help="auto, scannet200, room [default: auto].")] = None,
    tag: options.Tag = None,
    voxel: Annotated[float | None, typer.Option(help="Fusion grid of rooms, metres [default: 0.02].")] = None,
    max_views: Annotated[int | None, typer.Option(help="Most keyframes of a room [default: 200].")] = None,
    cut: options.Cut = None,
    features: Annotated[bool, typer.Option("--features", help="Keep simulated features of rooms.")] = False,
    feature_size: options.FeatureSize = None,
    workers: Annotated[int | None, typer.Option(help="Scenes at the same time [default: 1].")] = None,
    config: options.Config = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Publish scenes with ground truth, which supervises a training as a whole: ScanNet200-style scans and synthetic
    rooms.

    What is published already is left as it is. Exit code 1 if a scene failed, 2 for bad input.
    """
    with errors_for_people():
        from flows.import_settings import ImportParameters, name_annotated
        from flows.settings import read_config, validated
        from ovseg3r_model.settings import merged
        from storage.store import Store as OpenStore

        given = options.given(context, PLACES)
        parameters = validated(ImportParameters, merged(read_config(config) if config else {}, given))
        name_annotated(parameters)  # what is wrong here is told before the seconds that a server takes
        OpenStore.open(parameters.store).check_writable()
        run_and_show("flows.import_annotated", parameters, as_json)
