"""`ovseg3r status`, `ovseg3r retry`: how far the labelling is, and another try at what failed."""

from pathlib import Path
from typing import Annotated

import typer

from flows import cli_options as options
from flows.cli_process import errors_for_people, print_json
from flows.cli_scenes import run_and_show

RETRY = {
    "scenes": "scenes",
    "workers": "workers",
    "runner": "runner",
    "runner_address": "runner_address",
    "store": "store",
}
"""By option of `retry`: its place in ``flows.retry_settings.RetryParameters``."""


def status(
    context: typer.Context,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE...", help="Only these; as for label. Without any, all there is."),
    ] = None,
    manifest: options.Manifest = None,
    config: Annotated[
        Path | None, typer.Option(help="As for label: scenes are done that were labelled with these very settings.")
    ] = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Show how many scenes are done, running, failed and waiting, by stage, and how long the rest will take.

    Without sources: of all that the store knows of.
    """
    with errors_for_people():
        from flows.settings import checked, default_store, name_scenes, read_config
        from flows.status import status_of_sources, status_of_store
        from ovseg3r_model.settings import merged
        from storage.store import Store as OpenStore

        given = merged(read_config(config) if config else {}, options.given(context, options.SOURCES))
        opened = OpenStore.open(str(given.get("store") or default_store()), create=False)
        if given.get("sources") or given.get("manifest"):
            found = status_of_sources(opened, name_scenes(checked(given)), exact=config is not None)
        else:
            found = status_of_store(opened)
        if as_json:
            print_json(found.plain())
        else:
            from flows.display_runs import show_status

            show_status(found)


def retry(
    context: typer.Context,
    failed: Annotated[bool, typer.Option("--failed", help="All scenes that failed.")] = False,
    scenes: Annotated[
        list[str] | None, typer.Option("--scene", help="Only this one that failed; may be repeated.")
    ] = None,
    workers: options.Workers = None,
    runner: options.Runner = None,
    runner_address: options.RunnerAddress = None,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Label or import scenes again that failed, each with the settings it had.

    Exit code 1 if a scene failed, 2 for bad input.
    """
    with errors_for_people():
        from flows.retry_settings import RetryParameters, to_retry
        from flows.runners import check_runner
        from flows.settings import validated
        from ovseg3r_model.errors import InputError
        from storage.store import Store as OpenStore

        if not failed and not scenes:
            raise InputError("It is not said what to try again; add --failed, or --scene with the id of one.")
        parameters = validated(RetryParameters, options.given(context, RETRY))
        check_runner(parameters)
        opened = OpenStore.open(parameters.store, create=False)
        if not to_retry(opened, parameters.scenes):
            if as_json:
                print_json([])
            else:
                typer.echo("no scene has failed")
            return
        opened.check_writable()
        run_and_show("flows.retry", parameters, as_json)
