"""Phrases become token sequences and detections get their names back, against the library's own tokenizer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from ovseg3r_model.errors import InputError
from ovseg3r_model.segmentation.text_passes import TextPass, text_passes
from ovseg3r_model.vocabulary import read_vocabulary, scannet200_classes
from tests.conftest import TinyModels

LIMIT = 256


@pytest.fixture(scope="module")
def tokenizer(tiny_models: TinyModels) -> AutoTokenizer:
    return AutoTokenizer.from_pretrained(tiny_models("grounding-dino"), local_files_only=True)


@pytest.fixture(scope="module")
def scannet200() -> tuple[str, ...]:
    names = tuple(kind.name for kind in scannet200_classes())
    assert len(names) == 200
    return names


def test_the_tokens_are_the_library_s_of_the_joined_text(tokenizer: AutoTokenizer, scannet200: tuple[str, ...]) -> None:
    passes = text_passes(scannet200, tokenizer, LIMIT)
    for text in passes:
        phrases = scannet200[text.first : text.first + len(text.spans)]
        assert list(text.tokens) == tokenizer(". ".join(phrases).lower() + ".")["input_ids"]


def test_every_name_of_scannet200_is_found_under_its_own_tokens(
    tokenizer: AutoTokenizer, scannet200: tuple[str, ...]
) -> None:
    passes = text_passes(scannet200, tokenizer, LIMIT)
    assert len(passes) > 3
    found = []
    for text in passes:
        for k, (start, stop) in enumerate(text.spans):
            spoken = tokenizer.decode(text.tokens[start:stop]).replace(" ", "")
            assert spoken == scannet200[text.first + k].replace(" ", "")  # the span is the whole name, and nothing else
            scores = np.full((1, len(text.tokens)), 0.2, np.float32)
            scores[0, start:stop] = 0.9
            phrase, score = text.name(scores)
            found.append((scannet200[phrase[0]], float(score[0])))
    assert found == [(name, pytest.approx(0.9)) for name in scannet200]


def test_a_shared_word_does_not_mix_names(tokenizer: AutoTokenizer) -> None:
    phrases = ("desk", "office desk", "office chair")
    (text,) = text_passes(phrases, tokenizer, LIMIT)
    (desk, office_desk, office_chair) = text.spans
    office = len("office")
    scores = np.full((3, len(text.tokens)), 0.05, np.float32)
    scores[0, slice(*desk)] = 0.5  # a desk; the compound name's second word says so too, its first does not
    scores[0, office_desk[0] + office : office_desk[1]] = 0.55
    scores[1, slice(*office_desk)] = 0.5
    scores[1, slice(*desk)] = 0.45
    scores[2, office_chair[0]] = 0.9  # one strong token, and not a strong name
    scores[2, slice(*desk)] = 0.4
    phrase, score = text.name(scores)
    assert [phrases[k] for k in phrase] == ["desk", "office desk", "desk"]
    np.testing.assert_array_equal(score, np.float32([0.5, 0.5, 0.4]))  # each of its own name's tokens


def test_separators_and_padding_name_nothing() -> None:
    text = TextPass((101, 5, 1012, 6, 7, 1012, 102), 10, ((1, 2), (3, 5)))
    scores = np.full((1, 9), 0.99, np.float32)
    scores[0, [1, 3, 4]] = (0.3, 0.4, 0.1)
    phrase, score = text.name(scores)
    assert (phrase[0], score[0]) == (10, np.float32(0.3))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(40, 120))
def test_passes_are_few_and_even(lengths: list[int], limit: int) -> None:
    class Counting:
        cls_token_id, sep_token_id, unk_token_id = 1, 2, 3

        def __call__(self, text: list[str], *, add_special_tokens: bool) -> dict[str, list[list[int]]]:
            return {"input_ids": [[9] * len(phrase) for phrase in text]}

        def convert_tokens_to_ids(self, tokens: str) -> int:
            return 4

    phrases = ["x" * length for length in lengths]
    passes = text_passes(phrases, Counting(), limit)
    assert [phrase for text in passes for phrase in phrases[text.first : text.first + len(text.spans)]] == phrases
    longest = max(len(text.tokens) for text in passes)
    assert longest <= limit
    # no fewer passes are possible, and with as many none could be shorter: both by trying all limits
    greedy = {most: _greedy(lengths, most) for most in range(max(lengths) + 3, limit + 1)}
    assert len(passes) == greedy[limit]
    assert longest == min(most for most, count in greedy.items() if count == len(passes))


def _greedy(lengths: list[int], limit: int) -> int:
    count, room = 1, limit - 2
    for length in lengths:
        if length + 1 > room:
            count, room = count + 1, limit - 2
        room -= length + 1
    return count


def test_household_takes_few_passes(tokenizer: AutoTokenizer) -> None:
    vocabulary = read_vocabulary("household").phrases
    passes = text_passes(vocabulary, tokenizer, LIMIT)
    letters = sum(len(phrase.replace(" ", "")) + 1 for phrase in vocabulary)  # a token each, and one between phrases
    assert len(passes) <= letters / (LIMIT - 2 - 20) + 1
    assert sum(len(text.spans) for text in passes) == len(vocabulary)


def test_what_the_text_encoder_does_not_know_is_refused(tokenizer: AutoTokenizer) -> None:
    with pytest.raises(InputError, match='knows no part of the phrase "椅子"'):
        text_passes(["chair", "椅子"], tokenizer, LIMIT)
    with pytest.raises(InputError, match="too long for the text encoder"):
        text_passes(["chair", "long" * 20], tokenizer, 40)
