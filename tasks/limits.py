"""How many stages may use a machine's GPUs at once: a limit on the Prefect server, one a host, made by
``ovseg3r cluster limits``. A plain run, whose server is its own, has none.
"""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate
from prefect.concurrency.sync import concurrency
from prefect.exceptions import ObjectNotFound

from ovseg3r_model.errors import InputError
from tasks.progress import check_stop
from tasks.server import named_server

OWN_GPU = "OVSEG3R_OWN_GPU"
"""Is 1 in containers that a GPU was given to alone: they share it with nobody, and have a new host name each time."""
_LEASE = 60.0  # seconds until a killed holder's slot is free again; the least that the server takes
_SERVICE = "prefect._internal.concurrency"  # the logger
_LOOK = 10.0  # seconds between looks whether the run is to stop


def gpu_limit_name(host: str | None = None) -> str:
    """The limit of a machine, this one's by default."""
    return f"ovseg3r:gpu:{host or socket.gethostname()}"


def create_limits(slots: int, host: str | None = None) -> str:
    """Makes the limit of a machine on the server that is named, or changes it; its name.

    slots: stages that may use the machine's GPUs at the same time.
    """
    name = gpu_limit_name(host)
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
            client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(limit=slots))
        except ObjectNotFound:
            client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=slots))
    return name


@contextmanager
def gpu_slot(device: str | None) -> Iterator[None]:
    """Inside, one of the slots of this machine's GPUs is held; waits until one is free. Nothing where the torch device
    is no GPU, the GPU is this container's own, or the server a private one.

    The slot is leased: a holder that dies loses it within two minutes. A lease that cannot be renewed does not stop
    work that is under way.

    Raises:
        InputError: the server has no limit for this machine.
    """
    if device is None or not device.startswith("cuda") or os.environ.get(OWN_GPU) == "1" or not named_server():
        yield
        return
    name = gpu_limit_name()
    _check_limit(name)
    logging.getLogger(_SERVICE).addFilter(_not_of_waiting)
    with ExitStack() as held:
        while True:
            check_stop()
            slot = concurrency(
                name, strict=True, timeout_seconds=_LOOK, lease_duration=_LEASE, raise_on_lease_renewal_failure=False
            )
            try:
                held.enter_context(slot)
            except TimeoutError:
                continue
            break
        yield


def _not_of_waiting(record: logging.LogRecord) -> bool:
    """Prefect logs an error each time that a slot was waited for in vain."""
    return not (record.msg == "Service %r failed to process item %r" and "TimeoutError" in record.getMessage())


def _check_limit(name: str) -> None:
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound as error:
            raise InputError(
                f"The Prefect server has no limit {name} for the GPUs of this machine; make it there with "
                "`ovseg3r cluster limits`."
            ) from error
