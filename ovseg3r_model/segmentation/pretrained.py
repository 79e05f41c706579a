"""Networks of ``transformers`` from a folder with weights: safetensors only, nothing from the network, each loaded once
per process."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ovseg3r_model.errors import InputError
from ovseg3r_model.weights import content_digest, what_inputs_lack

logger = logging.getLogger("ovseg3r.segmentation")

MODELS = {
    "grounding-dino": "GroundingDinoForObjectDetection",
    "mm-grounding-dino": "MMGroundingDinoForObjectDetection",
    "sam": "SamModel",
    "sam2": "Sam2Model",
    "sam2_video": "Sam2Model",  # as the hub's SAM 2.1 says of itself; its parts for video are left
    "sam3": "Sam3Model",
    "sam3_video": "Sam3Model",
}
"""By the model type in config.json: the class of ``transformers``."""

_LOCK = threading.RLock()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Loaded networks are shared by all scenes of a process; inside, no other thread uses one."""
    with _LOCK:
        yield


def model_type(folder: Path) -> str:
    """What the folder's config.json says the model is.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / 'config.json'} does not say what model it is; fetch the weights again.") from error


def check_type(folder: Path, wanted: tuple[str, ...], what: str, text: bool) -> None:
    """Before any work: that the folder holds one of the model types ``wanted`` with all that it takes to use it.

    what: the wanted models, for the message. text: whether they read text.

    Raises:
        InputError: it does not.
    """
    found = model_type(folder)
    if found not in wanted:
        raise InputError(f"{folder} holds a model of type {found}, not {what}; `ovseg3r weights list` names those.")
    fault = what_inputs_lack({path.name for path in folder.iterdir()}, text)
    if fault:
        raise InputError(f"{folder}: {fault}; fetch the weights again, or save the model's processor there too.")


def load_part(build: Any, folder: Path) -> Any:
    """The folder's tokenizer or picture processor, by its class of ``transformers``.

    Raises:
        InputError: it cannot be read.
    """
    quiet()
    try:
        return build.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # as many ways to fail as there are parts
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{folder}: {build.__name__} cannot be made of what is there ({first}).") from error


def load_network(folder: Path, device: torch.device) -> Any:
    """The folder's network, in float32 on the device, for inference.

    Raises:
        InputError: the weights cannot be read or are not complete.
    """
    return _loaded(folder, content_digest(folder), device)


@lru_cache(maxsize=2)  # what one engine needs; other settings' networks make room
def _loaded(folder: Path, _digest: str, device: torch.device) -> Any:
    import transformers

    network = read_network(getattr(transformers, MODELS[model_type(folder)]), folder)
    logger.info("%s loaded on %s", folder.name, device)
    return network.to(device)


def read_network(build: Any, folder: Path) -> Any:
    """The folder's network, of that class of ``transformers``, in float32 on the CPU, for inference.

    Raises:
        InputError: the weights cannot be read or are not complete.
    """
    quiet()
    try:
        network, report = build.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32,
            ignore_mismatched_sizes=True, output_loading_info=True,  # told below, by name
        )  # fmt: skip
    except Exception as error:  # a wrong or damaged pair of files fails in as many ways as there are parts
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{folder}: the weights cannot be read ({first}); `ovseg3r weights verify` checks them."
        ) from error
    if report["missing_keys"] or report["mismatched_keys"]:
        absent = min(report["missing_keys"] or (key[0] for key in report["mismatched_keys"]))
        raise InputError(f"{folder}: the weights are not complete or of another shape, for instance {absent}.")
    return network.eval().requires_grad_(False)


def quiet() -> None:
    """Without the library's progress bars and advice."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
