"""How often the curves of a training get a point."""

import json

import pytest

from ovseg3r_model.supervision.statistics import MatchStatistics
from ovseg3r_model.training.schedule import ScheduleSettings
from ovseg3r_model.training.training import StepReport
from tasks.training_history import History


def told(history: History, steps: int) -> dict[str, list[list[float]]]:
    """The curves after so many steps, of which step k has loss k and matched k of 2k queries, in one view."""
    for step in range(1, steps + 1):
        matched = MatchStatistics(queries=2 * step, unsupervised=step, views=1, matched=step, known=0, astray=0)
        history.add(StepReport(step=step, losses={"total": float(step)}, norm=1.0, rate=0.1, statistics=[matched]))
    history.flush()
    plain = json.loads(history.json())
    return {"loss": plain["losses"]["total"], "matched": plain["matching"]["matched per view"]}


@pytest.mark.parametrize(
    ("given", "epoch", "at"),
    [
        (None, 3, [3, 6, 7]),  # each epoch, and what is left at the end
        (None, 0, [1, 2, 3, 4, 5, 6, 7]),  # fewer scenes than a step takes
        (2, 3, [2, 4, 6, 7]),
    ],
)
def test_curves_have_a_point_an_epoch_unless_told_otherwise(given: int | None, epoch: int, at: list[int]) -> None:
    curves = told(History(ScheduleSettings(report_every=given), epoch), 7)
    assert [step for step, _ in curves["loss"]] == at
    spans = [range(before + 1, step + 1) for before, step in zip([0, *at], at, strict=False)]
    assert [value for _, value in curves["loss"]] == [sum(span) / len(span) for span in spans]
    assert [value for _, value in curves["matched"]] == [sum(span) / len(span) for span in spans]


def test_a_long_epoch_is_not_waited_for() -> None:
    assert [step for step, _ in told(History(ScheduleSettings(), 5000), 250)["loss"]] == [100, 200, 250]
