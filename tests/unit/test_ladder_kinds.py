"""The ladder's novel kinds are new in word as well: no relative of theirs is named in the scene-level data."""

import numpy as np

from benchmarks.ladder_kinds import FLAT, KINDS, NOVEL, RELATED
from ovseg3r_model.rooms import FLAT_KINDS, SOLID_KINDS
from ovseg3r_model.text import build_text_encoder
from ovseg3r_model.text.settings import TextSettings


def test_no_novel_name_is_close_to_a_base_one() -> None:
    kinds = [*SOLID_KINDS, *FLAT_KINDS]
    words = [(name, kind.name in NOVEL) for kind in kinds for name in (kind.name, *kind.synonyms)]
    vectors = np.asarray(build_text_encoder(TextSettings(engine="minilm")).encode([name for name, _ in words]))
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    novel = np.array([is_novel for _, is_novel in words])
    similar = vectors[novel] @ vectors[~novel].T
    assert similar.max() <= RELATED


def test_a_third_is_novel_flat_ones_among_them() -> None:
    assert set(KINDS) >= NOVEL
    assert abs(len(NOVEL) / len(KINDS) - 1 / 3) < 0.03
    assert 0.25 < len(NOVEL & FLAT) / len(FLAT) < 0.5
