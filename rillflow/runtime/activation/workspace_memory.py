"""What the executions of one workspace take in memory, and in which order they were used.

Used by `runtime/activation`.
"""

from collections import OrderedDict

from rillflow.core.plan import Plan
from rillflow.ids import ExecutionId


class WorkspaceMemory:
    """The part of one workspace in the memory for executions.

    Attributes:
        order: Its executions there, the least recently used first.
        size_bytes: What they take, each of their plans once: the cache of plans may not have it.
    """

    __slots__ = ("_users", "name", "order", "size_bytes")

    def __init__(self, name: str) -> None:
        self.name = name
        self.order: OrderedDict[ExecutionId, None] = OrderedDict()
        self.size_bytes = 0
        self._users: dict[Plan, int] = {}

    def add(self, execution_id: ExecutionId, plan: Plan) -> int:
        """Add an execution that is counted with 0 bytes; return the memory that its plan takes."""
        self.order[execution_id] = None
        users = self._users
        if plan in users:
            users[plan] += 1
            return 0
        users[plan] = 1
        self.size_bytes += plan.size_bytes
        return plan.size_bytes

    def remove(self, execution_id: ExecutionId, plan: Plan, counted_bytes: int) -> int:
        """Remove an execution; return what it took, with its plan if it was the last one of it."""
        del self.order[execution_id]
        users = self._users[plan] - 1
        freed_bytes = counted_bytes
        if users:
            self._users[plan] = users
        else:
            del self._users[plan]
            freed_bytes += plan.size_bytes
        self.size_bytes -= freed_bytes
        return freed_bytes

    def part_of(self, *, in_bytes: bool) -> int:
        """Return what it takes, in bytes or in executions."""
        return self.size_bytes if in_bytes else len(self.order)
