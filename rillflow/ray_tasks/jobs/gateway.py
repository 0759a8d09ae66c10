"""The gateway of ``ray-job://``: an attempt is a Ray job, found again by its submission id.

Used by `actors/dispatcher_actor.py`.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from itertools import count
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from rillflow.backoff import Backoff
from rillflow.errors import GatewayError
from rillflow.gateways.limits.answer_budget import CallId
from rillflow.ids import workspace_of
from rillflow.jsontypes import encode_json
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest, HostState, failed
from rillflow.ports.task_logs import LogPart, LogPlace
from rillflow.ray_tasks.attempts import fields_of
from rillflow.ray_tasks.jobs.server import Jobs, JobServerError, command_of, environment_of
from rillflow.ray_tasks.limits.call_slots import CallSlots
from rillflow.ray_tasks.limits.node_resources import accelerator_share
from rillflow.ray_tasks.limits.waiting import WaitingCalls
from rillflow.ray_tasks.options import CallOptions, call_options
from rillflow.ray_tasks.progress import ProgressReports
from rillflow.ray_tasks.settings import RaySettings
from rillflow.ray_tasks.system_failures import reason_for_the_log
from rillflow.ray_tasks.targets import JOB_SCHEME, job_name
from rillflow.ray_tasks.tasks import attempt_hash
from rillflow.task_set import TaskSet

MOST_JOBS: Final = 1_000
FIRST_LOOK_S: Final = 0.5
LONGEST_LOOK_S: Final = 3.0
MOST_SILENT: Final = 20
"""So many looks in a row may fail before the job server counts as lost."""
MOST_MESSAGE: Final = 2_000
_FAILED: Final = "FAILED"
_STOPPED: Final = "STOPPED"
_LOST: Final = (
    *("JOB_SUPERVISOR_ACTOR_DIED", "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE"),
    "JOB_SUPERVISOR_ACTOR_START_FAILURE",
)
"""Failures of Ray, after which the job is run again."""
_NOT_BEGUN: Final = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
"""Ray gives up a job that waits for resources for 15 minutes. A task goes on to wait."""
_ENDED_BY_ITSELF: Final = ("JOB_ENTRYPOINT_COMMAND_ERROR", None)

log = logging.getLogger("rillflow.ray_tasks")
_encoder: Final = msgspec.json.Encoder()


class RayJobGateway:
    """Runs jobs of the setting ``ray_jobs``; the answer is the outcome.

    A job goes on without its dispatcher. Whoever orders its attempt again finds it by its
    submission id, which is made of the attempt and of how often it was submitted before.
    """

    def __init__(self, settings: RaySettings, progress: ProgressReports) -> None:
        """Tell ``progress`` where the logs are."""
        self._settings = settings
        self._progress = progress
        self._jobs = Jobs()
        self._slots = CallSlots(each=settings.calls_per_target, total=MOST_JOBS)
        self._small = CallSlots(each=settings.small_calls, total=settings.small_calls)
        self._waiting = WaitingCalls()
        self._calls: Counter[CallId] = Counter()
        self._stopping: TaskSet[None] = TaskSet()

    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        """Make one attempt; a failure of Ray is repeated, within the time of the attempt."""
        try:
            name = job_name(request.resource_name, self._settings.jobs)
            options = call_options(request.ray_options)
            slots = self._small if options.is_small else self._slots
            resource = f"{JOB_SCHEME}://{name}"
            async with slots.slot(resource, request):
                with self._waiting.waiting(request.call, resource, options.resources):
                    return await self._attempt(request, name, options)
        except TimeoutError:
            return failed(request, "timeout")
        except GatewayError as error:
            return failed(request, str(error), error.hint)

    def hosts(self) -> list[HostState]:
        """Return the jobs that run, as hosts; those that no node can run are warned of."""
        return [
            replace(host, warnings=self._waiting.warnings(host.host.name))
            for host in (*self._slots.hosts(), *self._small.hosts())
        ]

    def lost(self, call: CallId) -> None:
        """Stop the job of a call that an earlier process of the dispatcher has made."""
        if not self._calls[call]:
            self._stopping.start(self._stop(call))

    async def close(self) -> None:
        """Wait for the jobs that are being stopped; the others go on."""
        await self._stopping.wait()

    async def _attempt(
        self, request: DispatchRequest, name: str, options: CallOptions
    ) -> DispatchAnswer:
        call, is_outcome = request.call, False
        self._calls[call] += 1
        try:
            async with asyncio.timeout(request.timeout_s):
                answer = await self._repeated(request, name, options)
            is_outcome = True
            return answer
        finally:
            self._calls[call] -= 1
            if not self._calls[call]:
                del self._calls[call]
                if not is_outcome:
                    self._stopping.start(self._stop(call))

    async def _repeated(
        self, request: DispatchRequest, name: str, options: CallOptions
    ) -> DispatchAnswer:
        given, lost = await self._submission(request, name, options), 0
        for number in count():
            found = await self._ended(request, submission_id(request.call, number), given)
            if found.status.value != _FAILED or found.error_type not in (*_LOST, _NOT_BEGUN):
                return _answer(request, found)
            lost += found.error_type != _NOT_BEGUN
            if lost > options.max_system_retries:
                break
        tried = f", after {lost - 1} repetitions" if lost > 1 else ""
        raise GatewayError(f"system failure{tried}: Ray has lost the job")

    async def _submission(
        self, request: DispatchRequest, name: str, options: CallOptions
    ) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Return command, environment and resources of a job.

        Raises:
            GatewayError: The input is too large, or there is no such environment.
        """
        entrypoint, environment = self._settings.jobs[name]
        environment = options.runtime_env or environment
        if environment is not None and environment not in self._settings.runtime_envs:
            raise GatewayError(
                f"there is no runtime environment {environment}",
                hint="the setting ray_runtime_envs has the environments by name",
            )
        chosen = self._settings.runtime_envs[environment] if environment else {}
        given = {
            "entrypoint_num_cpus": 1 if options.num_cpus is None else options.num_cpus,
            "entrypoint_num_gpus": options.num_gpus,
            "entrypoint_memory": options.resources.get("memory"),
            "entrypoint_resources": _custom_resources(options.resources),
            "entrypoint_label_selector": options.resources.get("label_selector"),
        }
        fields = await fields_of(request)
        return (
            command_of(entrypoint),
            environment_of(chosen, fields, request.traceparent),
            {key: value for key, value in given.items() if value is not None},
        )

    async def _ended(
        self,
        request: DispatchRequest,
        job: str,
        given: tuple[str, dict[str, Any], dict[str, Any]],
    ) -> Any:
        """Find or submit a job, and return its details once it has ended.

        Raises:
            GatewayError: The job server refuses it, or is lost.
        """
        silent, has_told, looks = 0, False, Backoff(FIRST_LOOK_S, LONGEST_LOOK_S)
        workspace = workspace_of(request.execution_id)
        while True:
            try:
                found = await self._jobs.info(job, workspace)
                if found is None:
                    await self._submit(job, given, workspace)
                    continue
            except JobServerError as error:
                silent += 1
                if silent > MOST_SILENT:
                    raise GatewayError("system failure: the job server is lost") from error
            else:
                silent = 0
                if found.status.is_terminal():
                    return found
                if not has_told and (place := _log_of(found)):
                    has_told = True
                    self._progress.deliver(request.call, None, "", place)
            await asyncio.sleep(looks.next_s())

    async def _submit(
        self, job: str, given: tuple[str, dict[str, Any], dict[str, Any]], workspace: str
    ) -> None:
        try:
            await self._jobs.submit(job, *given, workspace)
        except JobServerError as error:
            if await self._jobs.info(job, workspace) is None:  # else another dispatcher was first
                facts = {"job": job, "reason": reason_for_the_log(error)}
                log.warning("ray_job_refused", extra=facts)
                text = "Ray refuses the job; the log has the reason"
                raise GatewayError(f"system failure: {text}") from error

    async def _stop(self, call: CallId) -> None:
        """Stop the jobs of an attempt, of which one at most runs."""
        for number in count():
            job = submission_id(call, number)
            try:
                found = await self._jobs.info(job, workspace_of(call[0]))
                if found is None:
                    return
                if not found.status.is_terminal():
                    await self._jobs.stop(job, workspace_of(call[0]))
            except (JobServerError, GatewayError) as error:
                facts = {"job": job, "reason": reason_for_the_log(error)}
                log.warning("ray_job_not_stopped", extra=facts)
                return


def submission_id(call: CallId, number: int) -> str:
    """Return the submission id of an attempt that was submitted so often before."""
    return f"rillflow-{attempt_hash(*call[:3])}-{number}"


def _custom_resources(given: Mapping[str, Any]) -> dict[str, float] | None:
    """Return the custom resources of a job; Ray's jobs have no option for an accelerator."""
    found = {**given.get("resources", {}), **accelerator_share(given)}
    return found or None


def _answer(request: DispatchRequest, found: Any) -> DispatchAnswer:
    """Return the outcome of a job.

    Raises:
        GatewayError: It has not failed by itself.
    """
    body: dict[str, Any] = {"submission_id": found.submission_id, "status": found.status.value}
    error = None
    if found.status.value == _STOPPED:
        raise GatewayError("system failure: the job was stopped outside of Rillflow")
    if found.status.value == _FAILED:
        if found.error_type not in _ENDED_BY_ITSELF:
            kind = str(found.error_type).removeprefix("JobErrorType.")
            log.warning(
                "ray_job_failed",
                extra={"job": found.submission_id, "reason": reason_for_the_log(found.message)},
            )
            raise GatewayError(f"system failure: {kind}; the log has the reason")
        message = str(found.message)[:MOST_MESSAGE]
        body["error"] = {"type": "JobFailed", "message": message}
        error = f"JobFailed: {message}"
    if found.driver_exit_code is not None:
        body["exit_code"] = found.driver_exit_code
    return DispatchAnswer(
        execution_id=request.execution_id,
        task=request.task,
        attempt=request.attempt,
        body=encode_json(body),
        error=error,
        is_outcome=True,
        log=_log_of(found),
    )


def _log_of(found: Any) -> str | None:
    if not found.driver_node_id:
        return None
    part = LogPart(f"job-driver-{found.submission_id}.log", 0)
    return _encoder.encode(LogPlace(found.driver_node_id, [part])).decode()
