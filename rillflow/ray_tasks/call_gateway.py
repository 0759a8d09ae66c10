"""The gateway of ``ray-actor://`` and ``serve://``: calls of what runs in the cluster already.

Used by `actors/dispatcher_actor.py`.
"""

import asyncio
from typing import Any, Final

import ray

from rillflow.errors import GatewayError
from rillflow.gateways.limits.answer_budget import AnswerBudget
from rillflow.gateways.outbound.targets import effective_protocol
from rillflow.ids import workspace_of
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest, HostState, failed
from rillflow.private_apis.ray_core.state import no_hook
from rillflow.ray_tasks.attempts import Attempts, fields_of
from rillflow.ray_tasks.caller import Caller, CallInput, CallResult, ServeOptions
from rillflow.ray_tasks.exports import actor_class
from rillflow.ray_tasks.limits.call_slots import CallSlots
from rillflow.ray_tasks.options import CallOptions
from rillflow.ray_tasks.progress import ProgressReports
from rillflow.ray_tasks.settings import RaySettings
from rillflow.ray_tasks.system_failures import SystemFailureError
from rillflow.ray_tasks.targets import (
    ACTOR_SCHEME,
    ActorTarget,
    ServeTarget,
    actor_target,
    serve_target,
)
from rillflow.ray_tasks.tasks import MARK, Result, started

MOST_CALLS: Final = 1_000
_OPTIONS: Final = {
    "num_cpus": 0,
    "max_concurrency": MOST_CALLS,
    "max_restarts": -1,
    "max_task_retries": 0,
}


class RayCallGateway:
    """Calls methods of named actors and of Serve deployments.

    One actor of the dispatcher makes all these calls, in a process of its own, begun by the
    first of them: what comes back are objects of the user. The answer is the outcome.
    """

    def __init__(
        self, settings: RaySettings, budget: AnswerBudget, progress: ProgressReports
    ) -> None:
        """Fetch large results only where the ``budget`` has room."""
        self._settings = settings
        self._progress = progress
        self._attempts = Attempts(budget)
        self._slots = CallSlots(each=settings.calls_per_target, total=MOST_CALLS)
        self._actor: Any = None

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Make one attempt; a failure of Ray is repeated, within the time of the attempt."""
        try:
            target = self._target(request)
            given = CallInput(
                await fields_of(request),
                self._settings.artifacts_of(request),
                workspace_of(request.execution_id),
            )
        except GatewayError as error:
            return failed(request, str(error), error.hint)
        async with self._slots.slot(target.host, request):
            with self._progress.of(request.call) as number:
                return await self._attempts.answer(
                    request, lambda options: self._result(target, given, options, number)
                )

    def hosts(self) -> list[HostState]:
        """Return the actors and applications that are called, as hosts."""
        return self._slots.hosts()

    async def close(self) -> None:
        """Do nothing: the actor ends with this process."""

    def _target(self, request: DispatchRequest) -> ActorTarget | ServeTarget:
        protocol = effective_protocol(request.resource_name, request.resource_protocol)
        if protocol == ACTOR_SCHEME:
            return actor_target(request.resource_name, self._settings.actors)
        return serve_target(request.resource_name, self._settings.applications)

    async def _result(
        self,
        target: ActorTarget | ServeTarget,
        given: CallInput,
        options: CallOptions,
        number: int,
    ) -> Result:
        caller = self._caller()
        settings = self._settings
        how = ServeOptions(options.stream, (settings.dispatcher, settings.namespace), number)

        def start() -> Any:
            if isinstance(target, ServeTarget):
                return caller.call_deployment.remote(target, given, how)
            namespace = target.namespace or settings.namespace
            return caller.call_actor.remote(target, namespace, given)

        reference = await started(len(given.fields), start, ray.cancel, workspace=given.workspace)
        try:
            called = CallResult(*await reference)
        except asyncio.CancelledError:
            ray.cancel(reference)
            raise
        if called.failure is not None:
            raise SystemFailureError(called.failure)
        if called.result is None:
            raise GatewayError("the call has neither a result nor a failure")
        return called.result

    def _caller(self) -> Any:
        if self._actor is None:
            settings = self._settings
            environment = {"env_vars": {**no_hook(), MARK: "1"}}
            kind = actor_class(Caller).options(**_OPTIONS, runtime_env=environment)
            self._actor = kind.remote(
                settings.path, settings.max_result_bytes, settings.result_folders
            )
        return self._actor
