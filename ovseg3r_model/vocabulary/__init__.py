"""Vocabularies: the phrases that an open-vocabulary model is asked for."""

from ovseg3r_model.vocabulary.lists import BUILT_IN, read_vocabulary
from ovseg3r_model.vocabulary.phrases import Vocabulary, parse_prompt
from ovseg3r_model.vocabulary.scannet200 import ScanNet200Class, scannet200_classes

__all__ = ["BUILT_IN", "ScanNet200Class", "Vocabulary", "parse_prompt", "read_vocabulary", "scannet200_classes"]
