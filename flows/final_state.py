"""How a flow over scenes ends: its final state, and the results that its caller gets."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.scenes import FAILURES, SceneResult

_ended: ContextVar[list[list[SceneResult]] | None] = ContextVar("ended", default=None)


def state_of(results: list[SceneResult]) -> State[list[SceneResult]]:
    """The final state of a flow over scenes; failed if one of them is."""
    ended = _ended.get()
    if ended is not None:
        ended.append(results)
    bad = [r.scene_id for r in results if r.status in FAILURES]
    if bad:
        return Failed(message=f"{len(bad)} of {len(results)} scenes failed: {', '.join(bad)}", data=results)
    return Completed(data=results)


def results_of(flow: Callable[[], State[Any]]) -> list[SceneResult]:
    """Runs a flow over scenes in this process; its results, also where scenes failed.

    They are taken as the flow had them: where an answer of Prefect's server is lost and the request sent again, the
    state that comes back is without them.

    Raises:
        InputError: nothing could be started.
    """
    ended: list[list[SceneResult]] = []
    token = _ended.set(ended)
    try:
        state = flow()
    finally:
        _ended.reset(token)
    if ended:
        return ended[-1]
    results = state.result(raise_on_failure=False)
    if isinstance(results, BaseException):
        raise results
    done: list[SceneResult] = results
    return done
