"""The triggers that wait until there is room for their sources, in turn by workspace.

Used by `runtime/triggers/sources/runner.py`.
"""

from collections.abc import Iterator, Mapping

from rillflow.ports.triggers import TriggerRow
from rillflow.runtime.triggers.firing_rates import workspace_of_row


class WaitingTriggers:
    """One queue for each workspace: choosing takes time by the workspaces, not by the triggers."""

    def __init__(self) -> None:
        self._rows: dict[str, TriggerRow] = {}
        self._queues: dict[str, dict[str, TriggerRow]] = {}

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        """Yield the ids of those that wait."""
        return iter(self._rows)

    def add(self, row: TriggerRow) -> None:
        """Have a trigger wait, the last of its workspace."""
        self.discard(row.id)
        self._rows[row.id] = row
        self._queues.setdefault(workspace_of_row(row), {})[row.id] = row

    def discard(self, trigger_id: str) -> None:
        """Have a trigger wait no more, if it does."""
        row = self._rows.pop(trigger_id, None)
        if row is not None:
            workspace = workspace_of_row(row)
            del self._queues[workspace][trigger_id]
            if not self._queues[workspace]:
                del self._queues[workspace]

    def next(self, number: Mapping[str, int]) -> TriggerRow | None:
        """Return the first trigger of the workspace with the least number; it still waits."""
        workspace = min(self._queues, key=lambda each: number.get(each, 0), default=None)
        queue = {} if workspace is None else self._queues[workspace]
        return next(iter(queue.values()), None)
