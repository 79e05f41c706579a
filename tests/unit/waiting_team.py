"""What the processes of a team do in the tests of how it ends: the first waits for the second. Light to load."""

import os

import torch

from ovseg3r_model.errors import InputError


class Waiting:
    """A process of the team."""

    def process_id(self) -> int:
        return os.getpid()

    def cannot_read(self) -> None:
        if torch.distributed.get_rank() == 1:
            raise InputError("scene attic has lost 7 bytes.")
        torch.distributed.barrier()

    def wait(self) -> None:
        torch.distributed.barrier()
