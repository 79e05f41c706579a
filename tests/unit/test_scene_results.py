"""What became of the scenes reaches the caller whatever Prefect makes of the final state."""

from prefect.client.schemas.objects import State
from prefect.states import Failed

from flows.final_state import results_of, state_of
from flows.scenes import SceneResult

RESULTS = [SceneResult("a", "a", "published", 1.0), SceneResult("b", "b", "bad-input", 0.1, "b: is no recording.")]


def test_results_survive_a_state_that_lost_them() -> None:
    """As Prefect gives one back where the server's answer was lost: of the same type, without data."""

    def flow() -> State[list[SceneResult]]:
        return Failed(message=state_of(RESULTS).message)

    assert results_of(flow) == RESULTS


def test_the_state_fails_with_a_scene() -> None:
    assert state_of(RESULTS).is_failed()
    assert state_of(RESULTS[:1]).is_completed()
