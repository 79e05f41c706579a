"""CLIP's text encoder, which the paper takes."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Float32
from ovseg3r_model.weights import what_inputs_lack

if TYPE_CHECKING:
    from ovseg3r_model.text.networks import TextNetwork

TYPES = ("clip", "clip_text_model")
"""What config.json may say of itself: the whole of CLIP, or its text encoder alone."""


class ClipText:
    """Of a folder's CLIP, the text encoder with its projection: the space that it shares with pictures."""

    engine = "clip"
    templates: tuple[str, ...] = ("a {}", "a photo of a {}", "a photo of a {} in a room")

    def __init__(self, folder: Path) -> None:
        """Raises:
        InputError: the folder holds another kind of model, or no tokenizer.
        """
        from transformers import CLIPTextConfig

        from ovseg3r_model.segmentation.pretrained import model_type, quiet

        found = model_type(folder)
        if found not in TYPES:
            raise InputError(f"{folder} holds a model of type {found}, not CLIP; `ovseg3r weights list` names those.")
        fault = what_inputs_lack({path.name for path in folder.iterdir()}, pictures=False, text=True)
        if fault:
            raise InputError(f"{folder}: {fault}; fetch the weights again, or save the model's tokenizer there too.")
        quiet()
        self.folder = folder
        self.size = int(CLIPTextConfig.from_pretrained(folder, local_files_only=True).projection_dim)

    def embed(self, text: str) -> Float32:
        """(C,) float32, of any length.

        Raises:
            InputError: the weights cannot be read.
        """
        vector: Float32 = self._network(text).text_embeds[0].numpy()
        return vector

    @cached_property
    def _network(self) -> "TextNetwork":
        from transformers import CLIPTextModelWithProjection, CLIPTokenizer

        from ovseg3r_model.text.networks import TextNetwork

        return TextNetwork(self.folder, CLIPTextModelWithProjection, CLIPTokenizer)
