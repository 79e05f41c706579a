"""What a text encoder is, and the one place where one is chosen (METHOD 2, text)."""

from collections.abc import Sequence
from typing import Protocol

from ovseg3r_model.records import Float32
from ovseg3r_model.text.settings import TextSettings


class TextEncoder(Protocol):
    """Turns names of things into vectors whose cosine tells how alike they are.

    name: what identifies network, weights and templates: two encoders of one name say the same of every text. It goes
    into model artifacts and file names. size: channels, C.
    """

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    def encode(self, names: Sequence[str]) -> Float32:
        """(T,C) float32, rows of unit length in the order of ``names``. What a name gives does not depend on the
        others, nor on the number of threads. No network is touched.

        Raises:
            InputError: the weights cannot be read.
        """
        ...


def build_text_encoder(settings: TextSettings) -> TextEncoder:
    """The encoder that the settings ask for. Its network is loaded when it is first asked for a text that is not in the
    cache on this disk.

    Raises:
        InputError: its weights are not here or of another kind.
    """
    from ovseg3r_model.text.cache import cache_folder
    from ovseg3r_model.text.clip import ClipText
    from ovseg3r_model.text.minilm import MiniLm
    from ovseg3r_model.text.prompted import PromptedText
    from ovseg3r_model.weights import find

    clip = settings.engine == "clip" or (settings.engine == "auto" and not _is_clip_not_here(settings.weights))
    network = ClipText(find(settings.weights)) if clip else MiniLm()
    return PromptedText(network, settings.templates or network.templates, cache_folder())


def _is_clip_not_here(weights: str) -> bool:
    """Other faults, such as a wrong path, are for the user to mend."""
    from ovseg3r_model.weights.local import look
    from ovseg3r_model.weights.registry import known

    entry = known(weights)
    return entry is not None and entry.family == "clip" and look(entry)[0] is None
