"""Ray's job server, which is asked beside the event loop; and what a job is given.

Used by `ray_tasks/jobs/gateway.py`.
"""

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, TypeVar

import ray

from rillflow.errors import GatewayError
from rillflow.gateways.outbound.fair_thread import FairThread
from rillflow.ray_tasks.credentials import names_of_credentials
from rillflow.telemetry.trace_context import VARIABLE as TRACEPARENT

INPUT: Final = "RILLFLOW_INPUT"
INPUT_FILE: Final = "RILLFLOW_INPUT_FILE"
MOST_INPUT_BYTES: Final = 96 * 1024
"""An environment variable has 128 KiB at most."""
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_MISSING: Final = "status code 404"

T = TypeVar("T")


class JobServerError(Exception):
    """The job server did not answer, or refused."""


class Jobs:
    """Submits, looks at and stops jobs; there is a job server where Ray has its dashboard.

    Workspaces take turns to ask it.
    """

    def __init__(self) -> None:
        # A server that hangs holds a thread for as long as it is asked.
        self._threads = FairThread(
            most=sys.maxsize, most_of_one=sys.maxsize, name="jobs", threads=4
        )
        self._client: Any = None

    async def info(self, submission_id: str, workspace: str) -> Any:
        """Return the details of a job of a workspace, None if there is none.

        Raises:
            JobServerError: The server cannot be reached.
            GatewayError: There is no server.
        """
        try:
            return await self._ask(workspace, lambda client: client.get_job_info(submission_id))
        except JobServerError as error:
            if _MISSING in str(error):
                return None
            raise

    async def submit(
        self,
        submission_id: str,
        command: str,
        environment: dict[str, Any],
        given: dict[str, Any],
        workspace: str,
    ) -> None:
        """Submit a job; one that is there already is left as it is.

        Raises:
            JobServerError: The server cannot be reached, or refuses.
        """
        await self._ask(
            workspace,
            lambda client: client.submit_job(
                submission_id=submission_id, entrypoint=command, runtime_env=environment, **given
            ),
        )

    async def stop(self, submission_id: str, workspace: str) -> None:
        """Stop a job, if it runs.

        Raises:
            JobServerError: The server cannot be reached, or there is no such job.
        """
        await self._ask(workspace, lambda client: client.stop_job(submission_id))

    async def _ask(self, workspace: str, ask: Callable[[Any], T]) -> T:
        return await self._threads.run(workspace, partial(self._asked, ask))

    def _asked(self, ask: Callable[[Any], T]) -> T:
        try:
            if self._client is None:
                self._client = _client(ray.get_runtime_context().gcs_address)
            return ask(self._client)
        except ConnectionError as error:
            raise GatewayError(
                "this Ray has no job server",
                hint="jobs are run by the dashboard of a cluster, and not under `rillflow up`",
            ) from error
        except (RuntimeError, ValueError, OSError) as error:
            raise JobServerError(str(error)) from error


def _client(address: str) -> Any:
    """Return a client of the job server of this Ray.

    Raises:
        ConnectionError: There is none. That of a Ray on a loopback address looks elsewhere.
    """
    if address.rpartition(":")[0].lower() in _LOOPBACK:
        raise ConnectionError(address)
    from ray.job_submission import JobSubmissionClient  # noqa: PLC0415 - 19 MB, only if needed

    return JobSubmissionClient(address)


def command_of(entrypoint: str) -> str:
    """Return the command of a job, which has its input in a file as well."""
    return (
        f'{INPUT_FILE}=$(mktemp) && export {INPUT_FILE} && trap "rm -f ${INPUT_FILE}" EXIT'
        f' && printf %s "${INPUT}" > "${INPUT_FILE}" && bash -c {shlex.quote(entrypoint)}'
    )


def environment_of(
    chosen: Mapping[str, Any],
    fields: bytes,
    traceparent: str | None = None,
    *,
    inherited: Iterable[str] = os.environ,
) -> dict[str, Any]:
    """Return the runtime environment of a job with its input, and the span of its attempt.

    Credentials among the names of the ``inherited`` variables are empty in it.

    Raises:
        GatewayError: The input is too large.
    """
    # Ray replaces ``$NAME`` in all values by variables of the node, which has secrets. In JSON a
    # ``$`` stands in texts only.
    fields = fields.replace(b"$", rb"\u0024")
    if len(fields) > MOST_INPUT_BYTES:
        raise GatewayError(
            f"the input has {len(fields)} bytes of JSON, and a job can be given {MOST_INPUT_BYTES}"
        )
    traced = {} if traceparent is None else {TRACEPARENT: traceparent}
    # Ray has no option to leave a variable of the node out.
    emptied = dict.fromkeys(names_of_credentials(inherited), "")
    variables = {**emptied, **traced, **chosen.get("env_vars", {}), INPUT: fields.decode()}
    return {**chosen, "env_vars": variables}
