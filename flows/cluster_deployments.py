"""What a Prefect server is told: the work pool and its queues, the deployments, the trigger, the rule for dead runs.

``prefect.yaml`` says the same for ``prefect deploy``. Entrypoints are modules, not files: they are found wherever the
package is installed, in a checkout, an image or a plain environment, and nothing is pulled.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.automations import AutomationCore
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, StateType, WorkerStatus
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.flows import Flow
from prefect.schedules import Cron, Interval, Schedule
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

from flows.cluster_settings import POOL, QUEUES, ClusterSettings, label_parameters, train_parameters
from flows.generate_labels import generate_labels
from flows.train_when import train_when_due
from ovseg3r_model.errors import InputError
from tasks.assets import dataset_asset
from tasks.limits import create_limits, gpu_limit_name

PUBLISHED = "prefect.asset.materialization.succeeded"
DAILY = "0 3 * * *"
"""The schedule that is there, switched off, where none is asked for."""
SILENT_SECONDS = 120
"""A run that has sent no heartbeat for so long is taken for dead; four are missing then."""


def register(settings: ClusterSettings) -> None:
    """Tells the server of PREFECT_API_URL everything; what it knows already is brought up to date."""
    with get_client(sync_client=True) as client:
        _pool(client)
        _rule(client, dead_runs())
    create_limits(settings.gpu_slots)
    for deployment in deployments(settings):
        deployment.apply()


def deployments(settings: ClusterSettings) -> tuple[RunnerDeployment, RunnerDeployment]:
    """generate-labels and train."""
    return label_deployment(settings), train_deployment(settings)


def label_deployment(settings: ClusterSettings) -> RunnerDeployment:
    """generate-labels, and its schedule, which is switched off unless it is said when and where to look."""
    return _deployment(
        generate_labels,
        "generate-labels",
        "Label recordings: reconstruct, segment, lift, group, validate, publish. What is done is left as it is.",
        parameters={"parameters": label_parameters(settings)},
        schedules=[Cron(settings.every or DAILY, active=settings.every is not None, slug="every")],
    )


def train_deployment(settings: ClusterSettings) -> RunnerDeployment:
    """train: one at a time, the rest queued; started by the dataset's event, by a schedule for what has waited long
    enough, and by hand."""
    wait = timedelta(minutes=settings.wait_minutes)
    return _deployment(
        train_when_due,
        "train",
        "Train a network on published scenes when enough are new, or the oldest new one has waited long enough.",
        parameters={
            "parameters": train_parameters(settings),
            "at_least": settings.at_least,
            "wait_minutes": settings.wait_minutes,
        },
        schedules=[_every(max(wait / 4, timedelta(minutes=1)), settings.train)],
        triggers=[dataset_changed(dataset_asset(settings.store), wait)] if settings.train else [],
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
        work_queue_name="gpu",
    )


def dataset_changed(dataset: str, wait: timedelta) -> DeploymentEventTrigger:
    """Starts a run soon after a scene was published, but not one for each of many.

    The first event fires, further ones in the same window do not; the run starts when the window is over, so it sees
    them all. Whether enough is new for a training, the run itself finds out.
    """
    window = min(max(wait / 60, timedelta(seconds=1)), timedelta(minutes=1))
    return DeploymentEventTrigger(
        name="ovseg3r: train on new scenes",
        match={"prefect.resource.id": dataset},
        expect={PUBLISHED},
        posture=Posture.Reactive,
        threshold=1,
        within=window,
        schedule_after=window,
    )


def dead_runs() -> AutomationCore:
    """Marks runs as crashed whose process is silent; their scenes are taken up by the next run of the same sources."""
    ended = {f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed")}
    heartbeat = "prefect.flow-run.heartbeat"
    return AutomationCore(
        name="ovseg3r: runs of dead workers",
        trigger=EventTrigger(
            after={heartbeat},
            expect={heartbeat} | ended,
            match={"prefect.resource.id": ["prefect.flow-run.*"]},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=SILENT_SECONDS),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message="No sign of life: the worker is gone.")],
    )


def check_cron(cron: str) -> None:
    """Raises InputError unless it is a schedule."""
    try:
        CronSchedule(cron=cron)
    except ValueError as error:
        raise InputError(f"--every {cron!r} is no cron schedule; write it like '0 * * * *', each hour.") from error


def worker_online(name: str) -> bool:
    """Whether the server knows that worker of the pool, and has heard of it lately."""
    with get_client(sync_client=True) as client:
        known = client.read_workers_for_work_pool(POOL)
        return any(worker.name == name and worker.status == WorkerStatus.ONLINE for worker in known)


def limited() -> bool:
    """Whether the server knows how many GPU stages this host runs at once."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(gpu_limit_name())
        except ObjectNotFound:
            return False
    return True


def _deployment(flow: Flow[..., Any], name: str, description: str, **more: Any) -> RunnerDeployment:
    return RunnerDeployment.from_flow(
        flow,
        name,
        description=description,
        entrypoint_type=EntrypointType.MODULE_PATH,
        work_pool_name=POOL,
        tags=["ovseg3r"],
        **({"work_queue_name": QUEUES[0]} | more),
    )


def _every(period: timedelta, active: bool) -> Schedule:
    """Counted from a fixed moment, so that telling the server again changes nothing."""
    return Interval(period, anchor_date=datetime(2026, 1, 1, tzinfo=UTC), active=active, slug="waited")


def _pool(client: SyncPrefectClient, queues: Sequence[str] = QUEUES) -> None:
    """The pool, of processes where there is none yet, and its queues."""
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        # without a command of its own each run is started by way of a second process, which takes as long as the first
        template["variables"]["properties"]["command"]["default"] = "python -m prefect.engine"
        client.create_work_pool(WorkPoolCreate(name=POOL, type="process", base_job_template=template))
    for queue in queues:
        try:
            client.create_work_queue(queue, work_pool_name=POOL)
        except ObjectAlreadyExists:
            continue


def _rule(client: SyncPrefectClient, rule: AutomationCore) -> None:
    """Makes the rule, once. One that says the same is left alone, as it knows which runs it has heard of."""
    old = client.read_automations_by_name(rule.name)
    if [_content(each) for each in old] == [_content(rule)]:
        return
    for each in old:
        client.delete_automation(each.id)
    client.create_automation(rule)


def _content(rule: AutomationCore) -> dict[str, Any]:
    return {
        "enabled": rule.enabled,
        "trigger": rule.trigger.model_dump(exclude={"id"}),
        "actions": [action.model_dump() for action in rule.actions],
    }
