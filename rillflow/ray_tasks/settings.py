"""How calls of Ray are set up.

Used by `actors/dispatcher_actor.py` and `ray_tasks`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from rillflow.artifacts.addresses import ArtifactSettings
from rillflow.artifacts.calls import ArtifactAccess, access_of
from rillflow.ports.gateway import DispatchRequest

MAX_RESULT_BYTES = 10 * 1024 * 1024
"""As large as an answer over HTTP may be."""
MAX_INPUT_BYTES = 256 * 1024 * 1024
"""What the inputs of a dispatcher's calls under way may take together; one may always leave."""


class RaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What tasks may call, and in which environment.

    ``modules`` are those whose functions tasks may call, with what is inside of them. ``path``
    has the folders in which workers look for modules before others. ``runtime_envs`` are those
    that tasks choose by name. ``jobs`` are those that tasks may run, by name: the command, and the
    name of the runtime environment. ``actors`` and ``applications`` of Serve are those that tasks
    may call. Task actors are in the ``namespace``; one whose outcome nobody has
    asked for during ``unclaimed_s`` seconds ends. ``dispatcher`` is the name of the dispatcher,
    which it keeps when it is started again. At once are made at most ``small_calls`` that ask for
    almost no processor, and ``calls_per_target`` of one actor or application. ``artifacts`` says
    where artifacts are. At ``feed_path`` the dispatcher listens for its workers; nowhere if it
    is empty. Actors and applications may return files of ``result_folders`` by their paths. Calls
    of functions ask for no more of each resource than ``workspace_shares`` say, by workspace.
    """

    modules: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    actors: tuple[str, ...] = ()
    applications: tuple[str, ...] = ()
    runtime_envs: Mapping[str, Mapping[str, Any]] = {}
    jobs: Mapping[str, tuple[str, str | None]] = {}
    namespace: str = "rillflow"
    unclaimed_s: float = 3_600.0
    dispatcher: str = "dispatcher"
    small_calls: int = 16
    calls_per_target: int = 256
    artifacts: ArtifactSettings | None = None
    feed_path: str = ""
    max_result_bytes: int = MAX_RESULT_BYTES
    max_input_bytes: int = MAX_INPUT_BYTES
    result_folders: tuple[str, ...] = ()
    workspace_shares: Mapping[str, float] = {}

    def artifacts_of(self, request: DispatchRequest) -> ArtifactAccess | None:
        """Return where a call has its artifacts; None is nowhere."""
        if self.artifacts is None:
            return None
        above = tuple(step[0] for step in request.route)
        return access_of(self.artifacts, request.execution_id, above)
