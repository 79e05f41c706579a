"""Losses and AP over the steps, as a picture."""

import io
from collections.abc import Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Curve = Sequence[tuple[int, float]]
"""(step, value), by rising step."""


def draw_curves(losses: Mapping[str, Curve], scores: Mapping[str, Curve]) -> bytes:
    """PNG bytes: the losses, by name, on a logarithmic scale, and beside them the APs, where any were measured."""
    panels: list[tuple[str, Mapping[str, Curve]]] = [("loss", losses)]
    if scores:
        panels.append(("AP", scores))
    figure = Figure(figsize=(6.4 * len(panels), 4.2), dpi=110, layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, curve in curves.items():
            steps, values = zip(*curve, strict=True) if curve else ((), ())
            axes.plot(steps, values, label=name, linewidth=1.4, marker="o" if len(steps) < 30 else None, markersize=3)
        axes.set_xlabel("step")
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
        if title == "loss":
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
    target = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(target, format="png", metadata={"Software": None})  # the same curves, the same bytes
    return target.getvalue()
