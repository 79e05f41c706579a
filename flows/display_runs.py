"""What people see of labelling that goes on in many places."""

from datetime import timedelta

from rich.table import Table

from flows.display import output
from flows.status import StoreStatus

_MOST = 20  # scenes of a kind that are listed one by one


def show_status(status: StoreStatus) -> None:
    """Counts by stage, then what is running and what failed, a line each, and how long the rest will take."""
    console = output()
    total = len(status.scenes)
    counts = ", ".join(f"{status.count(state)} {state}" for state in ("done", "running", "failed", "waiting"))
    table = Table(title=f"{total:,} scenes: {counts}")
    for name in ("stage", "done", "running", "failed", "waiting"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for s in status.stages:
        table.add_row(s.stage, *(f"{n:,}" for n in (s.done, s.running, s.failed, s.waiting)))
    console.print(table)
    for state, style in (("running", ""), ("failed", "red")):
        found = [scene for scene in status.scenes if scene.state == state]
        for scene in found[:_MOST]:
            where = f"{scene.stage}, {scene.worker}" if scene.worker else scene.stage
            why = f": {scene.message}" if scene.message else f", since {scene.when[:16]}"
            line = f"{state}: {scene.scene_id} ({where}){why}"
            console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
        if len(found) > _MOST:
            console.print(f"{state}: {len(found) - _MOST:,} more; --json lists all", soft_wrap=True)
    if status.count("failed"):
        console.print("to try what failed again: ovseg3r retry --failed", soft_wrap=True)
    if status.count("running") + status.count("waiting"):
        rest = "unknown" if status.rest_seconds is None else str(timedelta(seconds=round(status.rest_seconds)))
        console.print(f"the rest will take: {rest} ({status.rests_on})", highlight=False, soft_wrap=True)
