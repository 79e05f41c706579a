"""The calculation for many scenes, against sums done by hand."""

import pytest

from benchmarks.scale import Plan, calculation, dollars
from benchmarks.scale_server import ServerCost
from benchmarks.scale_store import Cost


def test_the_plan() -> None:
    plan = Plan(scenes=5000, workers=100, scene_seconds=120)
    assert plan.rate == pytest.approx(0.8333, abs=1e-4)
    assert plan.seconds == pytest.approx(6000)


def test_requests_have_prices() -> None:
    assert dollars({"PUT": 1000, "GET": 10_000, "LIST": 1000}) == pytest.approx(0.005 + 0.004 + 0.005)


def test_the_calculation() -> None:
    costs = [
        Cost("local", "read all rows, unmerged", 100, 9.0, {}),
        Cost("S3", "read all rows, unmerged", 100, 1.0, {"LIST": 2, "GET": 100}),
        Cost("S3", "read all rows, merged", 100, 0.1, {"LIST": 2, "GET": 1}),
    ]
    served = ServerCost(scenes=10, workers=4, seconds=2.0, requests=6.0, bytes=100_000.0, tasks_a_second=35.0)
    found = calculation(Plan(4000, 100, 120.0), costs, {"GET": 600, "PUT": 200}, served)
    figures = {what: figure for what, figure, _ in found}
    assert figures == {
        "the run": "80 min",
        "scenes a second": "0.83",
        "requests of the scenes": "667 a second",  # 800 requests, 100 workers, 120 s
        "requests of the scenes, dollars": "4.96",  # 4000 * (600 * 4e-7 + 200 * 5e-6)
        "signs of life": "13 requests a second",  # 100 workers, a GET and a PUT each 15 s
        "signs of life, dollars": "0.17",  # 32,000 of them
        "all rows, never merged": "40.0 s",  # 10 ms each
        "all rows, never merged, dollars": "0.16",  # 4000 GET and 8 LIST, a hundred times
        "all rows, merged": "4.0 s",
        "task runs a second": "5.8",  # 7 each 1.2 s
        "share of what the server takes": "17 %",
        "requests to the server": "5.0 a second",
        "its database": "400 MB",
        "shortest scene": "20 s",  # 35 task runs a second are 5 scenes a second
    }
