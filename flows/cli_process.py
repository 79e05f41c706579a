"""How a command ends: exit codes, sentences for people, Ctrl-C, JSON on standard output."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from flows.plain_json import finite

BAD_INPUT = 2
FAILED = 1
INTERRUPTED = 130


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Bad input becomes one sentence and exit code 2, a store out of reach one and 1; an interrupted run says that it
    can be continued."""
    from ovseg3r_model.errors import InputError
    from storage.errors import StoreError

    try:
        yield
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from error
    except StoreError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt as error:
        typer.echo("stopped; the same command goes on where it was", err=True)
        raise typer.Exit(INTERRUPTED) from error


@contextmanager
def stopping_soon() -> Iterator[None]:
    """Inside, Ctrl-C ends the running stage at its next step, and a second one ends the process at once."""
    from tasks.progress import stop

    def interrupted(*_: object) -> None:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        typer.echo("stopping at the next step; Ctrl-C again stops at once", err=True)
        stop()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def exit_code(statuses: list[str]) -> int:
    """0 if all is well, 2 if nothing but bad input came of it, else 1."""
    failures = [s for s in statuses if s in ("failed", "bad-input")]
    if not failures:
        return 0
    return BAD_INPUT if len(failures) == len(statuses) and "failed" not in failures else FAILED


def print_json(value: Any) -> None:
    """The value, and nothing else, on standard output."""
    sys.stdout.write(json.dumps(finite(value), indent=1, default=str, allow_nan=False) + "\n")
