"""Which scenes failed, and why: one record a scene, the newest; gone when the scene is published.

failures/<scene_id>.json
"""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Literal

from storage.names import check_scene_id
from storage.store import Store

FAILURES = "failures"
_READERS = 8


@dataclass(frozen=True)
class Failure:
    """A scene's last try. status: bad-input, which another try does not mend, or failed. stage: in which it failed;
    done: those before. digest: of the scene it would have published, where that was known. key: of the source as it was
    then and the settings, where there was a source. when: UTC; worker: host:process. attempt: random, tells one try
    from another. parameters: what is needed to try again, as JSON values.
    """

    scene_id: str
    source: str
    status: Literal["bad-input", "failed"]
    stage: str
    done: tuple[str, ...]
    message: str
    when: str
    worker: str
    attempt: str
    digest: str | None
    key: str | None
    parameters: dict[str, Any]

    @property
    def of_import(self) -> bool:
        """Whether a scene with ground truth was to be imported, and not a recording to be labelled."""
        return "import" in self.parameters


class Failures:
    """The failures of a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def record(self, failure: Failure) -> None:
        """Keeps it in the place of the scene's last one. Raises TypeError for parameters that JSON does not know."""
        self.store.put(_key(failure.scene_id), json.dumps(asdict(failure), indent=1).encode())

    def of(self, scene_id: str) -> Failure | None:
        """The scene's failure; None where its last try went well, or there was none."""
        data = self.store.get(_key(scene_id))
        if data is None:
            return None
        values = json.loads(data)
        return Failure(**values | {"done": tuple(values["done"])})

    def marks(self) -> dict[str, str]:
        """By scene that failed, what changes with every try. One listing."""
        names = {entry.key.removeprefix(f"{FAILURES}/"): entry.modified for entry in self.store.list(FAILURES)}
        return {name.removesuffix(".json"): time.isoformat() for name, time in names.items() if "/" not in name}

    def all(self) -> list[Failure]:
        """Every failure, by scene."""
        with ThreadPoolExecutor(_READERS) as pool:
            return [failure for failure in pool.map(self.of, self.marks()) if failure is not None]

    def clear(self, scene_id: str) -> None:
        """Forgets a scene's failure; one that is not there is no error."""
        self.store.delete([_key(scene_id)])


def _key(scene_id: str) -> str:
    return f"{FAILURES}/{check_scene_id(scene_id)}.json"
