from itertools import pairwise
from uuid import uuid4

import pytest
import torch
from prefect import task
from prefect.client.schemas.objects import TaskRun
from prefect.states import Failed

from ovseg3r_model.errors import InputError
from storage.errors import SceneRefused, StoreError
from tasks.retrying import STAGE_OPTIONS, may_pass


@task
def stage() -> None:
    """Only stands for a stage."""


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (StoreError("s3://rooms: failed while reading"), True),
        (ConnectionResetError("reset by peer"), True),
        (TimeoutError("no answer"), True),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), True),
        (InputError("rooms/a: not a recording"), False),
        (SceneRefused("a", ["no points"]), False),
        (KeyError("intrinsics"), False),
        (FileNotFoundError("stages/ingest"), False),
        (MemoryError(), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_only_what_may_pass_is_tried_again(error: BaseException, passes: bool) -> None:
    run = TaskRun(task_key="stage", dynamic_key="0", flow_run_id=uuid4())
    assert may_pass(stage, run, Failed(data=error)) is passes


def test_the_waits_double() -> None:
    waits = STAGE_OPTIONS["retry_delay_seconds"](STAGE_OPTIONS["retries"])
    assert len(waits) == STAGE_OPTIONS["retries"]
    assert [later / sooner for sooner, later in pairwise(waits)] == [2] * (len(waits) - 1)
