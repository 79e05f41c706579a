"""A flow run that shares its work with further runs of the same deployment."""

from prefect.context import FlowRunContext
from prefect.deployments import run_deployment
from prefect.runtime import deployment

from flows.settings import LabelParameters
from ovseg3r_model.errors import InputError


def start_parts(parameters: LabelParameters) -> None:
    """Starts ``split`` - 1 more runs of the deployment that this run is of; which scene is whose is told by the claims.
    A run that is started again starts none twice.

    Raises:
        InputError: this is no run of a deployment.
    """
    if parameters.split == 1:
        return
    context = FlowRunContext.get()
    if deployment.id is None or context is None or context.flow_run is None:
        raise InputError(
            f"split: {parameters.split} parts are flow runs of a deployment, which this is not; set workers instead, "
            "or start the same command several times, on any machines: they share the work."
        )
    given = parameters.model_copy(update={"split": 1}).model_dump(mode="json")
    for part in range(2, parameters.split + 1):
        run_deployment(
            deployment.id,
            parameters={"parameters": given},
            timeout=0,
            as_subflow=False,
            idempotency_key=f"{context.flow_run.id}-part-{part}",
            work_queue_name=context.flow_run.work_queue_name,
        )
