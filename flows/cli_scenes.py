"""The end of the commands that publish scenes: run, show, exit code."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from flows.cli_process import exit_code, print_json, stopping_soon

if TYPE_CHECKING:
    from flows.scenes import SceneResult


def run_and_show(module: str, parameters: Any, as_json: bool) -> NoReturn:
    """Runs a flow over scenes, shows what became of them and leaves with their exit code.

    module: the flow's; its ``run`` is called with the parameters.
    """
    from flows.local_server import prefect_server

    with prefect_server(module), stopping_soon():
        from flows.display import progress_shown

        run = import_module(module).run
        with progress_shown(quiet=as_json):
            results = run(parameters)
    show_ended(results, as_json)


def show_ended(results: "list[SceneResult]", as_json: bool) -> NoReturn:
    """Shows what became of scenes and leaves with their exit code."""
    if as_json:
        print_json([r.plain() for r in results])
    else:
        from flows.display import show_results

        show_results(results)
    raise typer.Exit(exit_code([r.status for r in results]))
