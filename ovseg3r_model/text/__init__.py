"""Text: names of things as vectors (METHOD 2)."""

from ovseg3r_model.text.negatives import padded_labels
from ovseg3r_model.text.protocol import TextEncoder, build_text_encoder
from ovseg3r_model.text.settings import TextEngine, TextSettings

__all__ = ["TextEncoder", "TextEngine", "TextSettings", "build_text_encoder", "padded_labels"]
