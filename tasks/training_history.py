"""What a training tells while it runs: curves, TensorBoard, the log."""

import json
import logging
from dataclasses import asdict
from typing import Any

from ovseg3r_model.benchmark_summary import BenchmarkSummary
from ovseg3r_model.supervision.statistics import MatchStatistics, summed
from ovseg3r_model.training.curves import draw_curves
from ovseg3r_model.training.schedule import ScheduleSettings
from ovseg3r_model.training.training import StepReport

logger = logging.getLogger("ovseg3r.train")

Curves = dict[str, list[tuple[int, float]]]

LONGEST = 100
"""Steps after which something is told in any case, however many scenes there are."""


class History:
    """losses, matching: means over ``report_every`` steps, by name; scores: of each evaluation.

    epoch: steps in which each scene comes once.
    """

    def __init__(self, schedule: ScheduleSettings, epoch: int) -> None:
        self._every = schedule.report_every or min(max(epoch, 1), LONGEST)
        self._held: list[StepReport] = []
        self._losses: Curves = {}
        self._matching: Curves = {}
        self._scores: Curves = {}
        self._board: Any = None
        if schedule.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(schedule.tensorboard)

    def add(self, report: StepReport) -> None:
        """One step."""
        self._held.append(report)
        if report.step % self._every == 0:
            self.flush()

    def flush(self) -> None:
        """Makes a point of the curves of the steps since the last one."""
        if not self._held:
            return
        last, count = self._held[-1], len(self._held)
        mean = {name: sum(each.losses[name] for each in self._held) / count for name in last.losses}
        matching = _matching(summed([s for each in self._held for s in each.statistics]))
        self._held = []
        self._write(last.step, self._losses, mean, "loss")
        self._write(last.step, self._matching, matching, "matching")
        if self._board is not None:
            self._board.add_scalar("learning-rate", last.rate, last.step)
            self._board.add_scalar("gradient-norm", last.norm, last.step)
        said = ", ".join(f"{name} {value:.3g}" for name, value in matching.items())
        logger.info("step %d: loss %.4f, %s", last.step, mean["total"], said)

    def judged(self, step: int, summary: BenchmarkSummary) -> None:
        """An evaluation."""
        self._write(step, self._scores, metrics_of(summary), "score")
        logger.info("step %d: AP %.3f, AP50 %.3f", step, summary.overall.ap, summary.overall.ap50)

    def metrics(self) -> dict[str, float]:
        """The last value of each curve that says how good the model is."""
        out = {name: curve[-1][1] for name, curve in self._scores.items()}
        return out | {f"loss {name}": curve[-1][1] for name, curve in self._losses.items() if name == "total"}

    def plain(self) -> dict[str, Any]:
        """As JSON values, for a checkpoint."""
        return {**self._curves(), "held": [asdict(report) for report in self._held]}

    def restore(self, plain: dict[str, Any]) -> None:
        """What ``plain`` gave."""
        kinds = (
            {name: [(int(step), float(value)) for step, value in curve] for name, curve in plain[kind].items()}
            for kind in ("losses", "matching", "scores")
        )
        self._losses, self._matching, self._scores = kinds
        self._held = [
            StepReport(**(held | {"statistics": [MatchStatistics(**each) for each in held["statistics"]]}))
            for held in plain["held"]
        ]

    def json(self) -> bytes:
        """The curves."""
        return (json.dumps(self._curves(), indent=1) + "\n").encode()

    def _curves(self) -> dict[str, Curves]:
        return {"losses": self._losses, "matching": self._matching, "scores": self._scores}

    def picture(self) -> bytes:
        """The curves as PNG."""
        return draw_curves(self._losses, self._scores)

    def close(self) -> None:
        """Ends what TensorBoard reads."""
        if self._board is not None:
            self._board.close()

    def _write(self, step: int, curves: Curves, values: dict[str, float], kind: str) -> None:
        for name, value in values.items():
            if value == value:  # nan: nothing to measure there
                curves.setdefault(name, []).append((step, value))
                if self._board is not None:
                    self._board.add_scalar(f"{kind}/{name}", value, step)


def metrics_of(summary: BenchmarkSummary) -> dict[str, float]:
    """AP, AP50, AP25 over all classes, and of masks whatever their names, 0..1."""
    parts = {"": asdict(summary.overall), "class-agnostic ": asdict(summary.class_agnostic)}
    return {
        f"{prefix}{figure}": float(scores[key])
        for prefix, scores in parts.items()
        for figure, key in (("AP", "ap"), ("AP50", "ap50"), ("AP25", "ap25"))
    }


def _matching(total: MatchStatistics) -> dict[str, float]:
    """Shares and means of the counts (METHOD 3); astray only where the truth is known."""
    out = {
        "unsupervised queries": total.unsupervised / max(total.queries, 1),
        "matched per view": total.matched / max(total.views, 1),
    }
    return out | ({"astray": total.astray / total.known} if total.known else {})
