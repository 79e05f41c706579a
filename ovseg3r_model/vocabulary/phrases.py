"""What a phrase is, and how a prompt is split into phrases.

Grounding DINO reads a prompt as phrases that end with "." and takes "?" for an end too: no phrase holds either.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from ovseg3r_model.errors import InputError

MAX_PHRASES = 5000
MAX_LENGTH = 100  # characters of a phrase

_BETWEEN = re.compile("[.;\n\r\u2028\u2029]")  # what separates phrases
_JOINERS = "\u200c\u200d"  # invisible, but some scripts are not written without them


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Phrases to look for.

    name: "prompt", the file's name or the built-in vocabulary's. phrases: as written, with single blanks inside; no two
    differ in case alone; in the order given. notes: sentences on what was left out or may not be meant.
    """

    name: str
    phrases: tuple[str, ...]
    notes: tuple[str, ...] = ()


def parse_prompt(text: str) -> Vocabulary:
    """The phrases of a prompt such as "chair. office desk. mug".

    Periods, semicolons and line breaks separate phrases. Commas do so only where the prompt has none of these, but for
    one at its end: "chair, desk, mug." is three phrases with a note, "box, cardboard. mug" is two. Blanks and commas
    around a phrase are not part of it.

    Raises:
        InputError: no phrase, more than 5,000, one longer than 100 characters or without a letter or digit, "?", or
            characters that cannot be seen.
    """
    check_characters(text, "The prompt")
    pieces = [piece for piece in map(clean, _BETWEEN.split(text)) if piece]
    notes: list[str] = []
    if len(pieces) == 1 and "," in pieces[0]:
        pieces = [piece for piece in map(clean, pieces[0].split(",")) if piece]
        notes.append("The prompt was split at its commas, as nothing else separates its phrases.")
    if not pieces:
        raise InputError(
            'The prompt names nothing: write phrases with periods between them, as in "chair. office desk. mug".'
        )
    return collect("prompt", (("The prompt", piece) for piece in pieces), "The prompt", notes)


def clean(raw: str) -> str:
    """Without blanks and separators at its ends, and with single blanks inside."""
    return " ".join(raw.split()).strip(" .,;")


def check_characters(text: str, where: str) -> None:
    """Refuses "?" and what cannot be seen; ``where`` opens the sentence."""
    for character in text:
        if character == "?":
            raise InputError(f'{where} holds "?", which ends a phrase for some models: leave it out.')
        if not character.isprintable() and _invisible(character):
            raise InputError(f"{where} holds the character U+{ord(character):04X}, which cannot be seen: leave it out.")


def check_is_one(text: str, where: str) -> None:
    """Refuses what a prompt would split, separators at the ends aside."""
    inside = _BETWEEN.search(text.strip().strip(".,; \t"))
    if inside:
        raise InputError(
            f"{where} holds {inside[0]!r}, which separates phrases: write one phrase a line, or one in each entry of a "
            ".json list."
        )


def collect(name: str, phrases: Iterable[tuple[str, str]], where: str, notes: Iterable[str] = ()) -> Vocabulary:
    """A vocabulary of cleaned phrases, each after the words that messages call its place by; ``where``: all of them.

    Raises:
        InputError: a phrase, or their number, is not as ``parse_prompt`` has it.
    """
    kept: dict[str, str] = {}
    repeated: list[str] = []
    for place, phrase in phrases:
        _check_phrase(phrase, place)
        key = unicodedata.normalize("NFC", phrase.casefold())
        if key in kept:
            repeated.append(phrase)
        kept.setdefault(key, phrase)
    if len(kept) > MAX_PHRASES:
        raise InputError(f"{where} has {len(kept):,} phrases, more than the {MAX_PHRASES:,} that can be looked for.")
    made = tuple(kept.values())
    return Vocabulary(name, made, (*notes, *_repeats(repeated), *_commas([p for p in made if "," in p])))


def _check_phrase(phrase: str, place: str) -> None:
    if len(phrase) > MAX_LENGTH:
        raise InputError(
            f"{place} holds a phrase of {len(phrase):,} characters ({phrase[:30]!r}...), more than {MAX_LENGTH}: "
            "put a period or a line break between phrases."
        )
    if not any(character.isalnum() for character in phrase):
        raise InputError(f"{place} holds {phrase!r} for a phrase, without a letter or a digit.")


def _invisible(character: str) -> bool:
    kept = character in "\t\n\r" or character in _JOINERS
    return not kept and unicodedata.category(character) in {"Cc", "Cf", "Cs"}


def _repeats(phrases: list[str]) -> list[str]:
    if not phrases:
        return []
    what = "1 repeated phrase was" if len(phrases) == 1 else f"{len(phrases):,} repeated phrases were"
    return [f"{what} left out: {_quoted(phrases)}."]


def _commas(phrases: list[str]) -> list[str]:
    if not phrases:
        return []
    what = "1 phrase holds a comma and is" if len(phrases) == 1 else f"{len(phrases):,} phrases hold commas and are"
    return [f"{what} taken whole: {_quoted(phrases)}."]


def _quoted(phrases: list[str]) -> str:
    shown = ", ".join(f'"{phrase}"' for phrase in phrases[:3])
    return shown + (f" and {len(phrases) - 3:,} more" if len(phrases) > 3 else "")
