"""The end of the commands that publish scenes: run, show, exit code."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

import typer

from flows.cli_process import exit_code, print_json, stopping_soon

if TYPE_CHECKING:
    from flows.scenes import SceneResult

P = TypeVar("P")


def run_and_show(load: Callable[[], "Callable[[P], list[SceneResult]]"], parameters: P, as_json: bool) -> NoReturn:
    """Runs a flow over scenes, shows what became of them and leaves with their exit code.

    load: gives the flow's ``run``, imported only then, as Prefect has to know its server before.
    """
    from flows.local_server import prefect_server

    with prefect_server(), stopping_soon():
        from flows.display import progress_shown, show_results

        run = load()
        with progress_shown(quiet=as_json):
            results = run(parameters)
    if as_json:
        print_json([r.plain() for r in results])
    else:
        show_results(results)
    raise typer.Exit(exit_code([r.status for r in results]))
