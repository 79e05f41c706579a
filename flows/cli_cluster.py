"""`ovseg3r cluster`: Prefect server, worker, limits, deployments and trigger on this machine, by one command."""

import socket
from pathlib import Path
from typing import Annotated, Any

import typer

from flows import cli_options as options
from flows.cli_process import FAILED, errors_for_people, print_json

app = typer.Typer(
    name="cluster",
    help="Deployments, schedules and triggers: start what a small team needs on this machine, and end it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Folder = Annotated[Path, typer.Option(help="Where database, logs and state of the cluster lie.")]
GpuSlots = Annotated[int | None, typer.Option(min=1, help="GPU stages at the same time on this host [default: 1].")]
Every = Annotated[str | None, typer.Option(metavar="CRON", help="Look for new sources so often, like '0 * * * *'.")]
Source = Annotated[list[str] | None, typer.Option(help="Source, glob or URL that --every looks at; may be repeated.")]
Manifest = Annotated[str | None, typer.Option(help="Manifest (CSV or Parquet) that --every looks at, instead.")]
LabelConfig = Annotated[Path | None, typer.Option(help="Settings of generate-labels: YAML or JSON.")]
TrainConfig = Annotated[Path | None, typer.Option(help="Settings of train: YAML or JSON.")]
Train = Annotated[
    bool | None, typer.Option("--train/--no-train", help="Train by itself when scenes are published [default: yes].")
]
AtLeast = Annotated[int | None, typer.Option(min=1, help="So many new scenes start a training [default: 10].")]
WaitMinutes = Annotated[
    float | None, typer.Option(min=0, help="Fewer do too once the oldest waited so long [default: 60].")
]
FOLDER = Path("ovseg3r-cluster")


@app.command()
def up(
    folder: Folder = FOLDER,
    store: options.Store = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1, this machine].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on [default: 4200].")] = None,
    workers: Annotated[int | None, typer.Option(help="Flow runs at the same time here [default: 2].")] = None,
    gpu_slots: GpuSlots = None,
    database: Annotated[
        str | None,
        typer.Option(
            envvar="OVSEG3R_DATABASE",
            show_envvar=True,
            help="postgresql+asyncpg://... [default: SQLite in the folder].",
        ),
    ] = None,
    every: Every = None,
    source: Source = None,
    manifest: Manifest = None,
    label_config: LabelConfig = None,
    train: Train = None,
    at_least: AtLeast = None,
    wait_minutes: WaitMinutes = None,
    train_config: TrainConfig = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay until Ctrl-C, and end all then.")] = False,
    as_json: options.Json = False,
) -> None:
    """Start server, limits, work pool, deployments, trigger and a worker; what runs already is left as it is.

    After a crash or a reboot the same command goes on with the same database, and with the settings of the last time
    where nothing else is said. Exit code 2 for bad input.
    """
    values = _given(
        store=store, host=host, port=port, workers=workers, gpu_slots=gpu_slots, every=every, sources=source,
        manifest=manifest, train=train, at_least=at_least, wait_minutes=wait_minutes,
    )  # fmt: skip
    with errors_for_people():
        from flows import cluster

        report = cluster.up(folder, values | _configs(label_config, train_config), database)
        _show(report, as_json)
        if foreground:
            try:
                cluster.stay(folder)
            finally:
                cluster.down(folder)


@app.command()
def down(folder: Folder = FOLDER) -> None:
    """End server, worker and the flow runs that are under way; the database stays, and so does the store."""
    with errors_for_people():
        from flows.cluster import down as end

        ended = end(folder)
        typer.echo(f"{ended} processes have ended" if ended else "nothing was running")


@app.command()
def status(folder: Folder = FOLDER, as_json: options.Json = False) -> None:
    """Say what runs. Exit code 1 if something of it does not."""
    with errors_for_people():
        from flows.cluster import status as look

        report = look(folder)
        _show(report, as_json)
        raise typer.Exit(0 if report.up else FAILED)


@app.command()
def deploy(
    store: options.Store = None,
    gpu_slots: GpuSlots = None,
    every: Every = None,
    source: Source = None,
    manifest: Manifest = None,
    label_config: LabelConfig = None,
    train: Train = None,
    at_least: AtLeast = None,
    wait_minutes: WaitMinutes = None,
    train_config: TrainConfig = None,
) -> None:
    """Tell a server that runs elsewhere (PREFECT_API_URL) what up tells its own: pool, limits, deployments, trigger."""
    values = _given(
        store=store, gpu_slots=gpu_slots, every=every, sources=source, manifest=manifest, train=train,
        at_least=at_least, wait_minutes=wait_minutes,
    )  # fmt: skip
    with errors_for_people():
        from flows.cluster import deploy as tell

        settings = tell(values | _configs(label_config, train_config))
        typer.echo(f"deployed generate-labels/generate-labels and train/train for {settings.store}")


@app.command()
def limits(gpu_slots: GpuSlots = None) -> None:
    """Make this host's limits on the server that PREFECT_API_URL names: once on every further machine."""
    with errors_for_people():
        from flows.cluster import limits as make

        slots = gpu_slots or 1
        typer.echo(f"{make(slots)}: {slots}")


@app.command()
def worker(
    queue: Annotated[
        list[str] | None, typer.Option(help="default, cpu or gpu; may be repeated [default: all].")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Flow runs at the same time here.")] = 2,
    gpu_slots: Annotated[
        int | None, typer.Option(min=1, help="As `cluster limits`; a host that has no limit yet gets 1.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the worker [default: the host's].")] = None,
) -> None:
    """Run a worker of the server that PREFECT_API_URL names, in the foreground: for further machines."""
    with errors_for_people():
        from flows.cluster import become_worker

        become_worker(tuple(queue or ()), limit, name or socket.gethostname(), gpu_slots)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _configs(label: Path | None, train: Path | None) -> dict[str, Any]:
    from flows.settings import read_config

    files = {"label": label, "training": train}
    return {name: read_config(file) for name, file in files.items() if file is not None}


def _show(report: Any, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        print_json({**asdict(report), "up": report.up})
        return
    if not report.up:
        lacking = " and ".join(name for name, runs in report.running.items() if not runs)
        typer.echo(
            f"{report.folder}: {lacking} not running; `ovseg3r cluster up --folder {report.folder}` starts what lacks"
        )
        return
    typer.echo(f"The cluster {'is up' if report.changed else 'runs already'}: {report.processes} processes")
    typer.echo(f"  UI        {report.address}")
    typer.echo(f"  store     {report.store}")
    typer.echo(f"  folder    {report.folder} (logs, database)")
    typer.echo("To try:")
    for command in report.commands:
        typer.echo(f"  {command}")
