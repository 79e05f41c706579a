import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.local_server import private_server, without_heartbeat

RECORDERS = ("EVENT_PERSISTER", "TASK_RUN_RECORDER")

# Read by Prefect when it is imported: offline, and quiet about tasks that are meant to fail.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("PREFECT_LOGGING_TO_API_ENABLED", "false")

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of many processes would compile every module anew

gc.set_threshold(100_000, 20, 50)  # what all those imports leave is no garbage, and looking for it takes a tenth

if "PYTEST_XDIST_WORKER" in os.environ:  # more processes than cores: more threads would only wait for each other
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[str]:
    """A Prefect server for the tests alone, started once; its address, also for other processes.

    The one that a run without PREFECT_API_URL starts, which is there in 3 seconds of work; that of Prefect's own test
    harness takes 17. It records task runs and events, too, for what is to be seen of a run.
    """
    from prefect.context import SettingsContext, _temporary_global_settings_context
    from prefect.settings import PREFECT_API_URL, temporary_settings

    recorders = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "true" for name in RECORDERS}
    with private_server(**recorders) as url, temporary_settings({PREFECT_API_URL: url}), without_heartbeat():
        chosen = SettingsContext.get()
        assert chosen is not None
        with _temporary_global_settings_context(chosen):  # for threads, too
            yield url


@pytest.fixture(scope="session")
def small_rooms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One room filmed in 12 views of 160x120, by layout: the recording's folder, masks.json and, for 7scenes, video.mp4
    beside it. Not to be written to."""
    from ovseg3r_model.rooms import make_room
    from tests.rooms import write_small_room

    room = make_room(3)
    base = tmp_path_factory.mktemp("rooms")
    return {layout: write_small_room(room, base, layout) for layout in ("7scenes", "scannet", "tum", "nerfstudio")}


class TinyModels:
    """Folders with tiny random-weight models, each made when first asked for."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def __call__(self, family: str) -> Path:
        """The folder of a family of ``tests.tiny_models``."""
        from tests.tiny_models import save_tiny

        folder = self._base / family
        return folder if folder.exists() else save_tiny(family, folder)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    return TinyModels(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    """Tiny networks only wait for a second thread."""
    from ovseg3r_model.reconstruction.torch_threads import one_thread

    with one_thread():
        yield
