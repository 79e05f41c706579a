"""``python -m benchmarks.scale``: what 5,000 scenes and 100 workers ask of a store and of the Prefect server.

Measures single operations, here and now, and calculates the rest from them; docs/scale.md has the tables and says what
follows. Markdown goes to standard output, all figures to --out.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from benchmarks.scale_server import ServerCost, server_cost
from benchmarks.scale_store import Cost, array_costs, local_store, store_costs
from ovseg3r_model.rooms import make_room
from storage.claims import LIFETIME
from storage.store import Store
from tests.rooms import VOXEL, masks_of, write_small_room
from tests.s3_server import Proxy, S3Server, s3_server

PRICES = {"PUT": 5e-6, "POST": 5e-6, "LIST": 5e-6, "GET": 4e-7, "HEAD": 4e-7, "DELETE": 0.0}
"""Dollars a request: S3 Standard in us-east-1 by its public list, November 2026; deletions are sent by POST."""

BEAT_SECONDS = LIFETIME / 4
TASKS = 7  # of a scene: its own and one for each stage


@dataclass(frozen=True)
class Plan:
    """The run to calculate. scene_seconds: of one scene on one worker."""

    scenes: int
    workers: int
    scene_seconds: float

    @property
    def rate(self) -> float:
        """Scenes a second of all workers together."""
        return self.workers / self.scene_seconds

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.scenes / self.rate


def main() -> None:
    options = _options()
    where = machine()
    costs: list[Cost] = []
    speeds: list[tuple[str, str, float]] = []
    with local_store() as store:
        costs += store_costs("local", store, None, options.rows, options.runs)
        speeds += array_costs("local", store, options.megabytes)
    with s3_server() as server, Proxy(server.port) as proxy:
        os.environ.update(proxy.environment)
        bucket = server.bucket("scale")
        costs += store_costs("S3 (moto)", Store.open(f"{bucket}/costs"), proxy, options.rows, options.runs)
        os.environ.update(server.environment)
        speeds += array_costs("S3 (moto)", Store.open(f"{bucket}/arrays"), options.megabytes)
        scene = scene_requests(server, f"{bucket}/scene")
    served = server_cost(options.server_scenes, 4)
    plan = Plan(options.scenes, options.workers, options.scene_seconds)
    lines = calculation(plan, costs, scene, served)
    result = {
        "machine": where, "plan": asdict(plan), "costs": [asdict(cost) for cost in costs], "speeds": speeds,
        "scene_requests": scene, "server": asdict(served), "calculation": lines,
    }  # fmt: skip
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    sys.stdout.write(_markdown(where, costs, speeds, scene, served, lines))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--scenes", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--scene-seconds", type=float, default=120.0, help="of one scene on one worker")
    parser.add_argument("--rows", type=int, default=1000, help="in the catalog that is measured")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=64, help="of the array that is written and read")
    parser.add_argument("--server-scenes", type=int, default=50, help="that do nothing, for the Prefect server")
    parser.add_argument("--out", type=Path, default=Path("bench/scale.json"))
    return parser.parse_args()


def scene_requests(server: S3Server, url: str) -> dict[str, int]:
    """Requests of one small room of 12 views, from its source to the catalog, by the command line."""
    with tempfile.TemporaryDirectory() as folder, Proxy(server.port) as proxy:
        room = write_small_room(make_room(0), Path(folder), "scannet")
        common = ("--masks", masks_of(room), "--voxel", str(VOXEL), "--store", url)
        program = str(Path(sys.executable).with_name("ovseg3r"))
        environment = os.environ | proxy.environment
        subprocess.run([program, "label", str(room), *common], env=environment, check=True, capture_output=True)  # noqa: S603
        return dict(sorted(proxy.requests.items()))


def calculation(
    plan: Plan, costs: Iterable[Cost], scene: dict[str, int], served: ServerCost
) -> list[tuple[str, str, str]]:
    """(what, figure, how it comes about) for a plan, from what was measured."""
    remote = {cost.operation: cost for cost in costs if cost.store != "local"}
    unmerged, merged = (remote[f"read all rows, {state}"] for state in ("unmerged", "merged"))
    pages = -(-plan.scenes // 1000)
    rows_read = {"LIST": 2.0 * pages, "GET": float(plan.scenes)}
    beats = plan.scenes * plan.scene_seconds / BEAT_SECONDS
    asked = plan.rate * TASKS
    row_seconds = unmerged.seconds / max(unmerged.rows, 1)
    return [
        ("the run", _time(plan.seconds), f"{plan.scenes} scenes, {plan.workers} workers, {plan.scene_seconds:g} s"),
        ("scenes a second", f"{plan.rate:.2f}", "all workers together"),
        ("requests of the scenes", f"{sum(scene.values()) * plan.rate:,.0f} a second", "as measured, 12 views a scene"),
        ("requests of the scenes, dollars", f"{dollars(scene) * plan.scenes:.2f}", "the whole run"),
        ("signs of life", f"{2 * plan.workers / BEAT_SECONDS:.0f} requests a second", f"one each {BEAT_SECONDS:g} s"),
        ("signs of life, dollars", f"{dollars({'GET': beats, 'PUT': beats}):.2f}", "the whole run"),
        ("all rows, never merged", _time(row_seconds * plan.scenes), f"{plan.scenes} GET, {2 * pages} LIST, a reader"),
        ("all rows, never merged, dollars", f"{dollars(rows_read) * plan.workers:.2f}", "each worker reads them once"),
        ("all rows, merged", _time(merged.seconds * plan.scenes / max(merged.rows, 1)), "1 GET, 2 LIST, a reader"),
        ("task runs a second", f"{asked:.1f}", f"{TASKS} a scene; the server took {served.tasks_a_second:.0f} here"),
        ("share of what the server takes", f"{100 * asked / served.tasks_a_second:.0f} %", "one server, SQLite"),
        ("requests to the server", f"{served.requests * plan.rate:.1f} a second", f"{served.requests:.1f} a scene"),
        ("its database", f"{served.bytes * plan.scenes / 1e6:,.0f} MB", f"{served.bytes / 1e3:,.0f} kB a scene"),
        ("shortest scene", f"{plan.workers * TASKS / served.tasks_a_second:.0f} s", "at which the server is full"),
    ]  # fmt: skip


def dollars(requests: "dict[str, int] | dict[str, float]") -> float:
    return sum(PRICES[kind] * number for kind, number in requests.items())


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _markdown(
    where: dict[str, Any],
    costs: Iterable[Cost],
    speeds: Iterable[tuple[str, str, float]],
    scene: dict[str, int],
    served: ServerCost,
    lines: Iterable[tuple[str, str, str]],
) -> str:
    machine_line = f"{where['cpu']}, {where['cores']} cores, load {where['load_before']} before, {where['date']}\n\n"
    by_operation: dict[tuple[str, int], list[Cost]] = {}
    for cost in costs:
        by_operation.setdefault((cost.operation, cost.rows), []).append(cost)
    operations = [
        [name, str(rows or ""), *(f"{one.seconds * 1e3:,.1f}" for one in both), _kinds(both[-1].requests)]
        for (name, rows), both in by_operation.items()
    ]
    scene_line = f"A scene of 12 views, from source to catalog: {_kinds(scene)} requests.\n\n"
    server_line = (
        f"Prefect, {served.scenes} scenes that do nothing on {served.workers} threads: {served.seconds:.1f} s, "
        f"{served.tasks_a_second:.1f} task runs a second, {served.requests:.1f} requests and "
        f"{served.bytes / 1e3:,.0f} kB a scene.\n\n"
    )
    return (
        machine_line
        + _table(("operation", "rows", "local ms", "S3 ms", "requests"), operations)
        + _table(("store", "what", "MB/s"), [[store, what, f"{value:.0f}"] for store, what, value in speeds])
        + scene_line
        + server_line
        + _table(("what", "figure", "how"), [list(line) for line in lines])
    )


def _kinds(requests: "dict[str, int] | dict[str, float]") -> str:
    return ", ".join(f"{number:g} {kind}" for kind, number in Counter(requests).items())


def _table(head: Iterable[str], lines: Iterable[list[str]]) -> str:
    head = list(head)
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *lines)) + "\n"


if __name__ == "__main__":
    main()
