"""Room for the requests that an owner has at a dispatcher: how many bytes may be there at once.

A dispatcher keeps the input of a call from its order until its answer, and an owner may order
thousands. So requests that find no room wait in the owner, which has their inputs anyway.
Workspaces get room in turn, and in each workspace the requests in their order.

Used by `runtime/dispatch/client.py`.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Final, TypeAlias

from rillflow.gateways.limits.answer_budget import CallId
from rillflow.ids import ExecutionId, TaskName, workspace_of
from rillflow.ports.gateway import DispatchRequest

SMALL_BYTES: Final = 4 * 1024
"""Requests with smaller inputs need no room: their number is bounded (``max_unanswered_calls``)."""
_Queue: TypeAlias = OrderedDict[CallId, DispatchRequest]


class RequestRoom:
    """The requests that have room at one dispatcher, and those that wait for it.

    A workspace has at most as many bytes as it leaves free: the first one half of the room, the
    next one half of the rest. So some whose functions take long leave room for others. A workspace
    that has none may take all that is free; while it waits for that, nobody gets room before it. A
    request that is larger than the room goes alone.
    """

    def __init__(self, most_bytes: int) -> None:
        """Give room for so many bytes."""
        self._most = most_bytes
        self._held: dict[CallId, int] = {}
        self._held_bytes = 0
        self._of_workspace = Counter[str]()
        self._waiting: OrderedDict[str, _Queue] = OrderedDict()

    def enter(self, request: DispatchRequest) -> bool:
        """Give room to a request, or have it wait; tell whether it may be sent."""
        size_bytes = len(request.input)
        if size_bytes < SMALL_BYTES or (call := request.call) in self._held:
            return True
        workspace = workspace_of(request.execution_id)
        is_first = workspace not in self._waiting and not self._is_kept
        if is_first and self._fits(workspace, size_bytes):
            self._enter(workspace, call, size_bytes)
            return True
        self._waiting.setdefault(workspace, OrderedDict())[call] = request
        return False

    def leave(self, call: CallId) -> None:
        """Take the room of a call back, or let it wait no more."""
        size_bytes = self._held.pop(call, None)
        if size_bytes is None:
            self.give_up(call)
            return
        workspace = workspace_of(call[0])
        self._held_bytes -= size_bytes
        self._of_workspace[workspace] -= size_bytes
        if not self._of_workspace[workspace]:
            del self._of_workspace[workspace]

    def give_up(self, call: CallId) -> DispatchRequest | None:
        """Let a call wait no more, and return its request; None if it does not wait."""
        workspace = workspace_of(call[0])
        queue = self._waiting.get(workspace)
        request = None if queue is None else queue.pop(call, None)
        if queue is not None and not queue:
            del self._waiting[workspace]
        return request

    def take(self) -> list[DispatchRequest]:
        """Return the requests for which there is room now; they wait no more."""
        return list(self._granted())

    def clear(self) -> None:
        """Take all room back, and let nothing wait."""
        self._held.clear()
        self._of_workspace.clear()
        self._waiting.clear()
        self._held_bytes = 0

    @property
    def bytes(self) -> int:
        """The bytes of the requests that have room."""
        return self._held_bytes

    @property
    def is_free(self) -> bool:
        """Whether no request has room or waits."""
        return not self._held and not self._waiting

    @property
    def is_waited_for(self) -> bool:
        """Whether requests wait."""
        return bool(self._waiting)

    def waiting(self, execution_id: ExecutionId) -> list[TaskName]:
        """Return the tasks of an execution whose calls wait."""
        queue = self._waiting.get(workspace_of(execution_id))
        return [call[1] for call in queue or () if call[0] == execution_id]

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[DispatchRequest]:
        return (each for queue in self._waiting.values() for each in queue.values())

    def _granted(self) -> Iterator[DispatchRequest]:
        while (workspace := self._next()) is not None:
            queue = self._waiting[workspace]
            call, request = queue.popitem(last=False)
            self._enter(workspace, call, len(request.input))
            if queue:
                self._waiting.move_to_end(workspace)
            else:
                del self._waiting[workspace]
            yield request

    def _next(self) -> str | None:
        """Return the workspace whose first request gets room, if there is any for one."""
        for workspace, queue in self._waiting.items():
            if self._fits(workspace, len(next(iter(queue.values())).input)):
                return workspace
            if not self._of_workspace[workspace]:
                return None
        return None

    @property
    def _is_kept(self) -> bool:
        """Whether what is free is kept for a workspace that has nothing."""
        return any(not self._of_workspace[workspace] for workspace in self._waiting)

    def _fits(self, workspace: str, size_bytes: int) -> bool:
        free = self._most - self._held_bytes - size_bytes
        own = self._of_workspace[workspace]
        return not self._held_bytes or (free >= 0 if not own else own + size_bytes <= free)

    def _enter(self, workspace: str, call: CallId, size_bytes: int) -> None:
        self._held[call] = size_bytes
        self._held_bytes += size_bytes
        self._of_workspace[workspace] += size_bytes
