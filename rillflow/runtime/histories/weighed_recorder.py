"""How much memory a replayed execution takes, and the replay that ends where it is too much.

Python cannot measure a graph of objects cheaply. So texts are weighed by their bytes and by the
values in them, as they are read, and the state now and then as a whole.

Used by `runtime/histories/history.py`.
"""

from typing import Final

from rillflow.core.encoding import codec
from rillflow.core.inspection.history.recording import Recorder
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.errors import TooLargeError
from rillflow.jsontypes import JsonObject, memory_of

MOST_STATE_BYTES: Final = 48 << 20
"""How much memory the state of an execution may take whose past is shown."""
_TASK_BYTES: Final = 1_000
_PARTS: Final = 4
"""The state is weighed as a whole whenever what was added since is this part of the limit."""


class WeighedRecorder(Recorder):
    """A replay of an execution whose state must not take too much memory."""

    def __init__(
        self,
        plan: Plan,
        state: ExecutionState | None = None,
        *,
        weight_bytes: int = 0,
        most_bytes: int = MOST_STATE_BYTES,
    ) -> None:
        """Begin with the first event, or after a state that takes so many bytes."""
        super().__init__(plan, state)
        self._most = most_bytes
        self._read_bytes = 0
        self._set_base(weight_bytes)

    @property
    def weight_bytes(self) -> int:
        """What the state takes, as far as it is known."""
        return self._base_bytes + self._added_bytes

    def take(self, record: bytes) -> JsonObject:
        """Handle an event, and return it as the console lists it.

        Raises:
            StoreError: As ``Recorder.take``.
            TooLargeError: The state takes too much memory (413).
        """
        row = super().take(record)
        self._read_bytes += memory_of(record)
        if self._added_bytes > self._most // _PARTS:
            self._set_base(memory_of(codec.encode_large_state(self.state)))
            if self._base_bytes > self._most:
                raise TooLargeError(
                    f"{self.state.execution_id} is too large to show its past: its state after"
                    f" event {self.seq} takes about {self._base_bytes >> 20} MB of memory, and"
                    f" {self._most >> 20} MB is the limit; its present state and its earlier"
                    " events are shown",
                )
        return row

    @property
    def _added_bytes(self) -> int:
        """What has been added since the whole was weighed, at most."""
        made, tasks = self._sizes()
        tasks_bytes = _TASK_BYTES * max(tasks - self._base_tasks, 0)
        return self._read_bytes + max(made - self._base_made_bytes, 0) + tasks_bytes

    def _set_base(self, weight_bytes: int) -> None:
        self._base_bytes, self._read_bytes = weight_bytes, 0
        self._base_made_bytes, self._base_tasks = self._sizes()

    def _sizes(self) -> tuple[int, int]:
        if self._state is None:
            return 0, 0
        return self._state.made_bytes, len(self._state.tasks)
