"""Back-off of Rillflow's own connections: pauses between tries, each twice the one before.

The delay of a task's retry is computed by ``schedule_retry`` in `core/tasks/function_tasks.py`.

Used by `client`, `functions`, `private_apis`, `ray_tasks` and `runtime`.
"""


class Backoff:
    """The pauses of one loop that tries again; ``reset`` begins anew after a success."""

    __slots__ = ("_first_s", "_longest_s", "_next_s")

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = self._next_s = first_s
        self._longest_s = longest_s

    def next_s(self, longest_s: float | None = None) -> float:
        """Return how many seconds to wait before the next try.

        ``longest_s`` is the longest of the following pauses, where that depends on what failed.
        """
        pause_s = self._next_s
        self._next_s = min(2 * pause_s, self._longest_s if longest_s is None else longest_s)
        return pause_s

    def reset(self) -> None:
        """Have the next pause be the first one."""
        self._next_s = self._first_s
