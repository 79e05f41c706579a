"""Phrases as the token sequences that Grounding DINO's text encoder takes, and which tokens belong to which phrase.

The sequence is built of the phrases' own tokens, so a detection's name follows from where its tokens are, never from
comparing strings: "office desk" cannot become "desk", and tokens of two phrases cannot make a third.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ovseg3r_model.errors import InputError
from ovseg3r_model.records import Float32, Int64


class Tokenizer(Protocol):
    """What is used of a BERT tokenizer of ``transformers``."""

    cls_token_id: Any
    sep_token_id: Any
    unk_token_id: Any

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> Any: ...
    def convert_tokens_to_ids(self, tokens: str) -> Any: ...


@dataclass(frozen=True)
class TextPass:
    """One sequence: [CLS] phrase . phrase . ... [SEP].

    tokens: its T ids. first: index, in the vocabulary, of its first phrase; spans: for each phrase from there on the
    positions (start, stop) of its tokens.
    """

    tokens: tuple[int, ...]
    first: int
    spans: tuple[tuple[int, int], ...]

    def name(self, token_scores: Float32) -> tuple[Int64, Float32]:
        """Which phrase of the vocabulary each of Q queries means, and how sure the detector is of that, from the scores
        (Q,T or longer) in [0, 1] of the sequence's tokens.

        The phrase is the one whose tokens score highest on average; the score is that of its best token. Where a phrase
        is one token, both are the library's own post-processing, except that separators name nothing. Scores of tokens
        do not depend on each other (sigmoids), so those of different passes can be compared.

        Returns (Q,) int64 and (Q,) float32.
        """
        mean = np.stack([token_scores[:, start:stop].mean(axis=1) for start, stop in self.spans], axis=1)
        highest = np.stack([token_scores[:, start:stop].max(axis=1) for start, stop in self.spans], axis=1)
        best = mean.argmax(axis=1)
        return self.first + best, highest[np.arange(len(best)), best]


def text_passes(phrases: Sequence[str], tokenizer: Tokenizer, limit: int) -> tuple[TextPass, ...]:
    """The phrases in as few passes of at most ``limit`` tokens as their order allows, and these of about equal length,
    so that none of them has fewer rivals than another.

    Raises:
        InputError: the text encoder does not know a phrase, or one is too long for a pass.
    """
    pieces: list[list[int]] = tokenizer([phrase.lower() for phrase in phrases], add_special_tokens=False)["input_ids"]
    stop = tokenizer.convert_tokens_to_ids(".")
    for phrase, piece in zip(phrases, pieces, strict=True):
        if not piece or all(token == tokenizer.unk_token_id for token in piece):
            raise InputError(f'The text encoder knows no part of the phrase "{phrase}": write it in English letters.')
        if len(piece) + 3 > limit:
            raise InputError(f'The phrase "{phrase}" is too long for the text encoder ({len(piece)} tokens).')
    groups = _balanced([len(piece) + 1 for piece in pieces], limit - 2)
    passes, first = [], 0
    for group in groups:
        tokens, spans = [tokenizer.cls_token_id], []
        for piece in pieces[first : first + group]:
            spans.append((len(tokens), len(tokens) + len(piece)))
            tokens += [*piece, stop]
        passes.append(TextPass((*tokens, tokenizer.sep_token_id), first, tuple(spans)))
        first += group
    return tuple(passes)


def _balanced(lengths: Sequence[int], limit: int) -> list[int]:
    """How many consecutive items go into each group: as few groups as ``limit`` allows, the longest as short as it can
    be with so many.
    """
    fewest = len(_filled(lengths, limit))
    low, high = max(lengths), limit
    while low < high:
        middle = (low + high) // 2
        if len(_filled(lengths, middle)) <= fewest:
            high = middle
        else:
            low = middle + 1
    return _filled(lengths, high)


def _filled(lengths: Sequence[int], limit: int) -> list[int]:
    groups, length = [0], 0
    for item in lengths:
        if length + item > limit and groups[-1]:
            groups.append(0)
            length = 0
        groups[-1] += 1
        length += item
    return groups
