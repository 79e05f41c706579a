"""What this machine has and lacks, with the one command that mends each lack."""

import importlib
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ovseg3r_model.errors import InputError
from ovseg3r_model.settings import GroundedSamSettings, Sam3Settings
from ovseg3r_model.text import TextSettings


@dataclass(frozen=True)
class Finding:
    """One thing looked at. needed: nothing works without it; the others are options."""

    what: str
    state: str
    good: bool
    needed: bool = False
    advice: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


_PACKAGES = (
    ("prefect", "prefect"),
    ("zarr", "zarr"),
    ("obstore", "obstore"),
    ("pyarrow", "pyarrow"),
    ("numba", "numba"),
    ("cv2", "opencv-python-headless"),
    ("av", "av"),
    ("skimage", "scikit-image"),
    ("pgeof", "pgeof"),
    ("pycocotools", "pycocotools"),
)

_WEIGHTS: dict[str, dict[str, tuple[str, ...]]] = {
    "grounded-sam": {
        GroundedSamSettings().detector: ("grounding-dino", "mm-grounding-dino"),
        GroundedSamSettings().sam: ("sam", "sam2"),
    },
    "sam3": {Sam3Settings().weights: ("sam3",)},
}
"""By engine: the weights to get first, and the families that do as well."""


def examine(store: str) -> list[Finding]:
    """Looks at Python, the packages, Open3D's system libraries, the machine, the store and the engines."""
    findings = [
        _python(),
        *(_package(module, name) for module, name in _PACKAGES),
        _open3d(),
        _machine(),
        _store(store),
    ]
    return findings + _server() + _engines()


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    return Finding("Python", platform.python_version(), good, True, "" if good else "install Python 3.11 or newer")


def _package(module: str, name: str) -> Finding:
    try:
        importlib.import_module(module)
        return Finding(name, version(name), True, True)
    except (ImportError, PackageNotFoundError) as error:
        return Finding(name, str(error).splitlines()[0], False, True, "pip install -c constraints.txt -e .")


def _open3d() -> Finding:
    try:
        open3d = importlib.import_module("open3d")
        return Finding("Open3D", open3d.__version__, True, True)
    except (ImportError, OSError) as error:
        advice = (
            "apt-get install -y libusb-1.0-0 libgl1 libegl1 libgomp1"
            if "lib" in str(error)
            else "pip install -c constraints.txt -e ."
        )
        return Finding("Open3D", str(error).splitlines()[0], False, True, advice)


def _machine() -> Finding:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Finding("Machine", f"{os.cpu_count()} cores, {memory:.0f} GiB memory", True)


def _store(store: str) -> Finding:
    from storage.store import Store

    if "://" not in store and not Path(store).exists():
        return Finding("Store", f"{store} is not there yet: the first label run makes it", True)
    try:
        opened = Store.open(store, create=False)
        opened.check_writable()
    except (InputError, OSError) as error:
        return Finding("Store", str(error), False, True, "name another with --store or OVSEG3R_STORE")
    free = "" if opened.root is None else f", {shutil.disk_usage(opened.root).free / 1e9:.0f} GB free"
    return Finding("Store", f"{opened.url} is writable{free}", True, True)


def _server() -> list[Finding]:
    url = os.environ.get("PREFECT_API_URL")
    return [Finding("Prefect server", url or "none named: each run starts a private one", True)]


def _engines() -> list[Finding]:
    return [
        Finding("Reconstruction: colmap", "ready", True, False, f"for plain video; no weights; depth on {_device()}"),
        Finding("Reconstruction: posed-rgbd", "ready", True, False, "needs depth and poses; no weights"),
        Finding("Reconstruction: imported", "ready", True, False, "needs --reconstruction; no weights"),
        _dust3r(),
        Finding("Segmentation: imported", "ready", True, False, "needs --masks; no weights"),
        Finding("Segmentation: regions", "ready", True, False, "for trying things out; no weights"),
        Finding("Segmentation: simulated", "ready", True, False, "for synthetic rooms, of their truth; no weights"),
        *learned_engines(),
        *text_engines(),
    ]


def learned_engines() -> list[Finding]:
    """The 2D engines that run on pretrained weights: which are here, and the command that gets what lacks."""
    from ovseg3r_model.weights import KNOWN
    from ovseg3r_model.weights.local import is_here

    here = [entry for entry in KNOWN if is_here(entry)]
    findings = []
    for engine, needed in _WEIGHTS.items():
        serving = [entry.name for entry in here if any(entry.family in group for group in needed.values())]
        lacking = [name for name, group in needed.items() if not any(entry.family in group for entry in here)]
        state = f"weights here: {', '.join(serving) or 'none'}"
        advice = _how_to_get(lacking) if lacking else "more: ovseg3r weights list"
        findings.append(Finding(f"Segmentation: {engine}", state, not lacking, False, advice))
    return findings


def text_engines() -> list[Finding]:
    """The text encoders of the network: which are here, and the command that gets what lacks."""
    from ovseg3r_model.text.minilm import INSTALL, PACKAGE, package_folder
    from ovseg3r_model.weights import KNOWN
    from ovseg3r_model.weights.local import is_here

    here = [entry.name for entry in KNOWN if entry.family == "clip" and is_here(entry)]
    usual = TextSettings().weights
    state = f"weights here: {', '.join(here) or 'none'}"
    packaged = Finding("Text: minilm", f"{PACKAGE} is installed", True)
    if package_folder() is None:
        packaged = Finding("Text: minilm", "not installed", False, False, INSTALL)
    return [
        Finding("Text: clip", state, bool(here), False, "" if usual in here else _how_to_get([usual])),
        packaged,
    ]


def _how_to_get(names: list[str]) -> str:
    from ovseg3r_model.weights import KNOWN

    wanted = [entry for entry in KNOWN if entry.name in names]
    terms = "".join(f"accept the terms at {entry.page}; hf auth login; " for entry in wanted if entry.gated)
    size = f"{sum(entry.bytes for entry in wanted) / 1e6:,.0f} MB"
    licences = ", ".join(dict.fromkeys(entry.licence for entry in wanted))
    return f"{terms}ovseg3r weights fetch {' '.join(names)} ({size}, {licences})"


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"


def _dust3r() -> Finding:
    from ovseg3r_model.reconstruction.dust3r.model import INSTALL, LICENCE, installed

    package = installed()
    if package is None:
        return Finding("Reconstruction: dust3r", "not installed", False, False, f"{INSTALL} ({LICENCE})")
    return Finding("Reconstruction: dust3r", f"{package} is installed", True, False, f"needs weights; {LICENCE}")
