"""Prompts and vocabularies: how they are split, what is refused, and what the built-in ones hold."""

import json
import unicodedata
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ovseg3r_model.errors import InputError
from ovseg3r_model.rooms import FLAT_KINDS, SOLID_KINDS
from ovseg3r_model.vocabulary import BUILT_IN, ScanNet200Class, parse_prompt, read_vocabulary, scannet200_classes


def refused(message: object, *words: str) -> None:
    text = str(message)
    assert "\n" not in text
    assert text.isprintable()
    assert text.endswith(".")
    assert len(text) < 300
    assert all(word in text for word in words), text


# --- prompts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("chair. office desk. mug", ("chair", "office desk", "mug")),
        ("chair.office desk.mug.", ("chair", "office desk", "mug")),
        ("chair", ("chair",)),
        (" ..chair..\t. desk;;\n\nmug ; \u2028lamp", ("chair", "desk", "mug", "lamp")),
        ("the  red\t mug\u00a0there.", ("the red mug there",)),
        ("Chair. IKEA desk", ("Chair", "IKEA desk")),
        ("box, cardboard. mug", ("box, cardboard", "mug")),
        ("chair,\r\ndesk,\r\nmug", ("chair", "desk", "mug")),
        ("chair, desk, mug", ("chair", "desk", "mug")),
        ("chair, desk,, mug,.", ("chair", "desk", "mug")),
        ("chair,", ("chair",)),
        ("fauteuil à bascule. 椅子. 3d-printer", ("fauteuil à bascule", "椅子", "3d-printer")),
        ("صندلی\u200cها", ("صندلی\u200cها",)),
    ],
)
def test_a_prompt_is_split(text: str, phrases: tuple[str, ...]) -> None:
    vocabulary = parse_prompt(text)
    assert vocabulary.phrases == phrases
    assert vocabulary.name == "prompt"


def test_notes() -> None:
    assert parse_prompt("chair. desk.").notes == ()
    (note,) = parse_prompt("chair, desk").notes
    assert "commas" in note
    (note,) = parse_prompt("box, cardboard. mug").notes
    assert note == '1 phrase holds a comma and is taken whole: "box, cardboard".'
    mixed = parse_prompt("Chair. chair. desk. CHAIR. Strasse. straße. caf\u00e9. cafe\u0301. DESK")
    assert mixed.phrases == ("Chair", "desk", "Strasse", "caf\u00e9")
    assert mixed.notes == ('5 repeated phrases were left out: "chair", "CHAIR", "straße" and 2 more.',)
    assert parse_prompt("mug. Mug").notes == ('1 repeated phrase was left out: "Mug".',)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["chair. office desk. mug"]),
        (" . ;\n,", ["chair. office desk. mug"]),
        ("chair? desk", ['"?"']),
        ("chair\x07", ["U+0007"]),
        ("chair\x00", ["U+0000"]),
        ("chair. \x1f .desk", ["U+001F"]),
        ("chair\ud800", ["U+D800"]),
        ("chair\u200b. desk", ["U+200B"]),
        ("chair. --. desk", ["'--'", "letter"]),
        ("a" * 101, ["101 characters", "aaa", "100"]),
        ("chair. " + "very " * 30 + "long", ["154 characters"]),
        (".".join(map(str, range(5001))), ["5,001", "5,000"]),
    ],
)
def test_a_prompt_is_refused(text: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        parse_prompt(text)
    refused(caught.value, "The prompt", *words)


def test_at_the_limits() -> None:
    assert parse_prompt("a" * 100).phrases == ("a" * 100,)
    assert len(parse_prompt(".".join(map(str, range(5000)))).phrases) == 5000
    assert parse_prompt("chair. " * 6000).phrases == ("chair",)


PHRASES = st.lists(
    st.from_regex(r"[A-Za-zäß0-9](?:[ ,'-]?[A-Za-zäß0-9]){0,12}", fullmatch=True), min_size=1, max_size=9
)


@settings(max_examples=60, deadline=None)
@given(PHRASES, st.sampled_from([".", ". ", " . ", ";", "\n", ".\r\n", ",\n"]))
def test_what_is_joined_is_split_again(phrases: list[str], between: str) -> None:
    once = {phrase.casefold(): phrase for phrase in reversed(phrases)}
    assume(len(phrases) > 1 or "," not in phrases[0])
    expected = tuple(dict.fromkeys(once[phrase.casefold()] for phrase in phrases))
    assert parse_prompt(between.join(phrases)).phrases == expected


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_any_text_gives_phrases_or_one_sentence(text: str) -> None:
    try:
        phrases = parse_prompt(text).phrases
    except InputError as error:
        refused(error)
        return
    assert phrases
    for phrase in phrases:
        assert phrase == " ".join(phrase.split())
        assert not set(phrase) & set(".;?\n\r")
        phrase.encode()
    assert len({phrase.casefold() for phrase in phrases}) == len(phrases)


# --- files --------------------------------------------------------------------------------------------------------


def test_a_text_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_bytes(
        "\ufeff# kitchen?\x07 a.b\r\n\r\n  mug \r\n\t# more\r\nbox, cardboard\nMug.\n office  desk,".encode()
    )
    vocabulary = read_vocabulary(str(path))
    assert vocabulary.name == "mine.txt"
    assert vocabulary.phrases == ("mug", "box, cardboard", "office desk")
    assert len(vocabulary.notes) == 2


def test_a_json_list(tmp_path: Path) -> None:
    path = tmp_path / "mine.JSON"
    path.write_text(json.dumps([" mug ", "# 1 pencil", "Mug"]))
    vocabulary = read_vocabulary(str(path))
    assert vocabulary.name == "mine.JSON"
    assert vocabulary.phrases == ("mug", "# 1 pencil")
    assert vocabulary.notes == ('1 repeated phrase was left out: "Mug".',)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "", ["no phrases", "one a line"]),
        ("a.txt", "# only\n\n", ["no phrases"]),
        ("a.txt", "mug\nchair. desk", ["line 2", "'.'", "one phrase a line"]),
        ("a.txt", "mug\rchair; desk", ["line 2", "';'", "one phrase a line"]),
        ("a.txt", "mug\n\nwhat?", ["line 3", '"?"']),
        ("a.txt", "mug\x1b[0m", ["line 1", "U+001B"]),
        ("a.txt", "mug\n" + "a" * 101, ["line 2", "101"]),
        ("a.txt", "mug\n-,", ["line 2", "letter"]),
        ("a.txt", "mug\n...", ["line 2", "letter"]),
        ("a.txt", "\n".join(map(str, range(5001))), ["5,001"]),
        ("a.txt", "a" * 1_000_001, ["1 MB"]),
        ("a.txt", b"\x89PNG\r\n\x1a\n\x00\x00", ["text"]),
        ("a.txt", "mug".encode("utf-16-le"), ["text"]),
        ("a.txt", "m\xfcg".encode("latin-1"), ["UTF-8"]),
        ("a.json", "", ["not valid JSON", "line 1"]),
        ("a.json", "mug", ["not valid JSON", '["chair", "office desk"]']),
        ("a.json", "[" * 100_000, ["not valid JSON"]),
        ("a.json", "[" + "9" * 5000 + "]", ["not valid JSON"]),
        ("a.json", "[]", ["list"]),
        ("a.json", '{"mug": 1}', ["list"]),
        ("a.json", '"mug"', ["list"]),
        ("a.json", '["mug", 1]', ["entry 2", "text"]),
        ("a.json", '["mug", ""]', ["entry 2", "letter"]),
        ("a.json", '["mug\\nchair"]', ["entry 1", r"'\n'"]),
        ("a.json", '["\\ud800"]', ["entry 1", "U+D800"]),
    ],
)
def test_a_file_is_refused(tmp_path: Path, name: str, content: str | bytes, words: list[str]) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        read_vocabulary(str(path))
    refused(caught.value, name, *words)


@pytest.mark.parametrize(
    "which", ["", "Household", "gone.txt", "chair. desk", "a\0b", "\ud800", "a\nb", "chair. " * 2000]
)
def test_an_unknown_vocabulary(which: str) -> None:
    with pytest.raises(InputError) as caught:
        read_vocabulary(which)
    refused(caught.value, "no vocabulary", "household", "scannet200", "one phrase a line", ".json")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_vocabulary(str(tmp_path))


# --- built in -----------------------------------------------------------------------------------------------------


def test_built_in_vocabularies_are_clean() -> None:
    assert BUILT_IN == ("household", "scannet200")
    for which in BUILT_IN:
        vocabulary = read_vocabulary(which)
        assert vocabulary.name == which
        assert vocabulary.notes == ()
        assert parse_prompt(". ".join(vocabulary.phrases)).phrases == vocabulary.phrases
        assert all(phrase.isascii() and phrase == phrase.lower() for phrase in vocabulary.phrases)


def test_household() -> None:
    phrases = read_vocabulary("household").phrases
    assert 280 <= len(phrases) <= 320
    kinds = [*SOLID_KINDS, *FLAT_KINDS]
    assert {kind.name for kind in kinds} <= set(phrases)
    assert not {synonym for kind in kinds for synonym in kind.synonyms} & set(phrases)
    assert not {"wall", "floor", "ceiling", "sky", "person", "kitchen"} & set(phrases)
    plurals = {phrase for phrase in phrases if phrase + "s" in phrases}
    assert plurals == {"book"}  # a row of books is a thing of its own


def test_scannet200() -> None:
    classes = scannet200_classes()
    assert len(classes) == len({c.id for c in classes}) == len({c.name for c in classes}) == 200
    assert [c.id for c in classes] == sorted(c.id for c in classes)
    assert classes[0] == ScanNet200Class(1, "wall", "head", None)
    assert classes[-1] == ScanNet200Class(1191, "mattress", "common", "base")
    assert Counter(c.split for c in classes) == {"base": 51, "novel": 147, None: 2}
    assert Counter(c.frequency for c in classes) == {"head": 66, "common": 68, "tail": 66}
    assert [c.name for c in classes if c.split is None] == ["wall", "floor"]
    phrases = read_vocabulary("scannet200").phrases
    assert phrases == tuple(c.name for c in classes if c.split)
    assert len(phrases) == 198


def test_the_lists_are_installed() -> None:
    package = files("ovseg3r_model.vocabulary")
    assert all(
        unicodedata.is_normalized("NFC", package.joinpath(f).read_text("utf-8"))
        for f in ("household.txt", "scannet200.csv")
    )
    settings_ = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '"ovseg3r_model.vocabulary" = ["*.csv", "*.txt"]' in settings_
