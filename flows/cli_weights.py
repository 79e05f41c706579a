"""`ovseg3r weights`: which pretrained weights there are, which are here, getting them, checking them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows import cli_options as options
from flows.cli_process import FAILED, errors_for_people, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from ovseg3r_model.weights import KnownWeights

app = typer.Typer(
    name="weights",
    help="Pretrained weights of the learned engines: list, fetch, verify.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.command("list")
def list_weights(as_json: options.Json = False) -> None:
    """List the weights known by name: what for, licence, size, and whether they are here. Touches no network."""
    with errors_for_people():
        from ovseg3r_model.weights import KNOWN

        rows = [_described(entry) for entry in KNOWN]
        if as_json:
            print_json(rows)
        else:
            _show_list(rows)


@app.command()
def fetch(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...", help="As listed by `ovseg3r weights list` [default: those of grounded-sam]."
        ),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="From the Hugging Face cache on this disk; no network.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Bring weights here, at their pinned revision: safetensors and settings only, checksums compared.

    What was fetched before and is whole is left as it is. Exit code 2 if something cannot be had.
    """
    with errors_for_people():
        from ovseg3r_model.settings import GroundedSamSettings
        from ovseg3r_model.weights.local import unknown
        from ovseg3r_model.weights.registry import known

        usual, entries = GroundedSamSettings(), []
        for name in names or (usual.detector, usual.sam):
            entry = known(name)
            if entry is None:
                raise unknown(name)
            entries.append(entry)
        done = [_fetched(entry, offline, quiet=as_json) for entry in entries]
        if as_json:
            print_json(done)


@app.command()
def verify(
    weights: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Names, or folders of your own [default: all that are here]."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Read every file of weights that are here and compare its checksum with what was fetched. Exit code 1 if something
    differs.
    """
    with errors_for_people():
        from ovseg3r_model.weights import KNOWN, weights_home
        from ovseg3r_model.weights.local import look

        chosen = weights or [entry.name for entry in KNOWN if look(entry)[0] is not None]
        reports = [_verified(each) for each in chosen]
        if as_json:
            print_json(reports)
        elif not reports:
            typer.echo(f"no weights are here ({weights_home()}); get some with: ovseg3r weights fetch")
        for report in () if as_json else reports:
            typer.echo(f"{report['name']}: {'DIFFERS' if report['faults'] else 'whole, content ' + report['digest']}")
            for fault in report["faults"]:
                typer.echo(f"  {fault}")
        if any(report["faults"] for report in reports):
            raise typer.Exit(FAILED)


def _described(entry: "KnownWeights") -> dict[str, Any]:
    from dataclasses import asdict

    from ovseg3r_model.weights.local import folder_of, look

    manifest, fault = look(entry)
    return asdict(entry) | {
        "purpose": entry.purpose,
        "here": manifest is not None and not fault,
        "folder": None if manifest is None else str(folder_of(entry)),
        "here_revision": None if manifest is None else manifest.revision,
        "here_bytes": None if manifest is None else manifest.bytes,
        "fault": fault,
    }


def _fetched(entry: "KnownWeights", offline: bool, quiet: bool) -> dict[str, Any]:
    import sys

    from ovseg3r_model.weights.fetch import fetch as bring

    if sys.stderr.isatty() and not quiet:
        with _bar(entry) as progress:
            result = bring(entry, offline, progress)
    else:
        result = bring(entry, offline)
    manifest, notes = result.manifest, [entry.note] if entry.note else []
    if entry.revision is None:
        notes.append(f"no revision is pinned, so the newest was taken at the time: {manifest.revision}")
    if not quiet:
        how = "fetched" if result.loaded else "already here"
        typer.echo(
            f"{entry.name}: {how}, {manifest.bytes / 1e6:,.0f} MB, {manifest.licence}, {manifest.hub_id} at "
            f"{manifest.revision[:12]}, in {result.folder}"
        )
        for note in notes:
            typer.echo(f"note: {entry.name}: {note}", err=True)
    return {
        "name": entry.name,
        "hub_id": manifest.hub_id,
        "revision": manifest.revision,
        "pinned": entry.revision is not None,
        "licence": manifest.licence,
        "bytes": manifest.bytes,
        "folder": str(result.folder),
        "loaded": result.loaded,
        "notes": notes,
    }


@contextmanager
def _bar(entry: "KnownWeights") -> Iterator[Callable[[int, int], None]]:
    """Inside, a bar on stderr; gives what to tell of progress."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(f"{entry.name} ({entry.licence})", total=entry.bytes)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _verified(weights: str) -> dict[str, Any]:
    from ovseg3r_model.weights import content_digest, find
    from ovseg3r_model.weights.local import differences, folder_of, look
    from ovseg3r_model.weights.registry import known

    entry = known(weights)
    manifest, fault = (None, "") if entry is None else look(entry)
    if entry is None or manifest is None:
        folder, faults = find(weights), []  # a folder of one's own; or known weights that are not here: says so
    else:
        folder = folder_of(entry)
        faults = differences(entry, manifest) or ([fault] if fault else [])
    return {
        "name": weights if entry is None else entry.name,
        "folder": str(folder),
        "digest": None if faults else content_digest(folder),
        "faults": faults,
    }


def _show_list(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from ovseg3r_model.weights import weights_home

    table = Table(title="Pretrained weights")
    for column in ("name", "for", "licence", "MB", "revision", "here"):
        table.add_column(column, justify="right" if column == "MB" else "left", overflow="fold")
    for row in rows:
        licence = row["licence"] + (" (gated)" if row["gated"] else "")
        revision = row["revision"] or row["here_revision"]
        cells = (row["name"], row["purpose"], licence, f"{(row['here_bytes'] or row['bytes']) / 1e6:,.0f}")
        pinned = "newest" if revision is None else revision[:12] + ("" if row["revision"] else " (not pinned)")
        table.add_row(*map(Text, (*cells, pinned, "yes" if row["here"] else "DAMAGED" if row["fault"] else "-")))
    console = _console()
    console.print(table)
    said = [f"{row['fault']}; mend it with: ovseg3r weights fetch {row['name']}" for row in rows if row["fault"]]
    said += [f"{row['name']}: {row['note']}" for row in rows if row["note"]]
    said += [f"in {weights_home()}; get more with: ovseg3r weights fetch NAME"]
    for line in said:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _console() -> "Console":
    import sys

    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=160)
