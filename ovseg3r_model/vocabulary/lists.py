"""Vocabularies by name: the built-in ones, and files."""

import errno
import json
import re
from importlib.resources import files
from pathlib import Path

from ovseg3r_model.errors import InputError
from ovseg3r_model.vocabulary.phrases import Vocabulary, check_characters, check_is_one, clean, collect
from ovseg3r_model.vocabulary.scannet200 import scannet200_classes

BUILT_IN = ("household", "scannet200")
MAX_BYTES = 1_000_000

_LINE_BREAK = re.compile("\r\n|[\n\r\u2028\u2029]")


def read_vocabulary(which: str) -> Vocabulary:
    """The vocabulary of that name, or else of the file at that path.

    "household": some 300 things that one finds indoors. "scannet200": the benchmark's 198 instance classes, without
    wall and floor. A file is UTF-8 text with one phrase a line, where blank lines and those that start with "#" do not
    count, or, if its name ends in .json, a list of phrases. Commas never separate phrases here.

    Raises:
        InputError: there is neither, it cannot be read, is larger than 1 MB, or holds what is no phrase or several.
    """
    if which == "household":
        return _lines(which, files(__package__).joinpath("household.txt").read_text("utf-8"), which)
    if which == "scannet200":
        return Vocabulary(which, tuple(c.name for c in scannet200_classes() if c.split))
    text = _text(which)
    name = Path(which).name
    return _entries(name, text, which) if which.casefold().endswith(".json") else _lines(name, text, which)


def _lines(name: str, text: str, where: str) -> Vocabulary:
    lines = ((f"{where}, line {k}", line) for k, line in enumerate(_LINE_BREAK.split(text), 1))
    phrases = [_phrase(line, place) for place, line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not phrases:
        raise InputError(f"{where} holds no phrases: write one a line.")
    return collect(name, phrases, where)


def _entries(name: str, text: str, where: str) -> Vocabulary:
    form = 'write a list of phrases, as in ["chair", "office desk"]'
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{where} is not valid JSON: {error.msg} in {at}; {form}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not valid JSON: nested too deeply, or an endless number; {form}.") from error
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{where} is not a list with phrases: {form}.")
    phrases = []
    for k, entry in enumerate(entries, 1):
        if not isinstance(entry, str):
            raise InputError(f"{where}, entry {k} is not a text: {form}.")
        phrases.append(_phrase(entry, f"{where}, entry {k}"))
    return collect(name, phrases, where)


def _phrase(raw: str, place: str) -> tuple[str, str]:
    check_characters(raw, place)
    check_is_one(raw, place)
    return place, clean(raw)


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: no path at all, such as one with a null byte
        if not isinstance(error, OSError) or error.errno in {errno.ENOENT, errno.ENAMETOOLONG}:
            raise InputError(
                f"There is no vocabulary {_short(path)}: give {' or '.join(BUILT_IN)}, or the path of a text file with "
                "one phrase a line or of a .json list."
            ) from error
        raise InputError(f"{path} cannot be read as a vocabulary: {error.strerror}.") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{path} is larger than 1 MB: a vocabulary is a short text file with one phrase a line.")
    try:
        if b"\0" not in content:
            return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text: save it as such, with one phrase a line.") from error
    raise InputError(f"{path} is not a text file: a vocabulary is UTF-8 text with one phrase a line.")


def _short(path: str) -> str:
    return repr(path if len(path) <= 60 else path[:57] + "...")
