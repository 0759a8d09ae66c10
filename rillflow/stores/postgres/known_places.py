"""What a writer knows of the executions that it writes, so that it need not ask before each append.

Only the owner of a partition appends to its executions, and nobody removes one that has not ended.
So what the last append of an owner left is how its next one finds it, as long as nobody has taken
the partition. The statement that writes checks that (`append_statements.py`).

Used by `stores/postgres/writer.py`.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import Append
from rillflow.stores.append_plan import AppendPlan, Place, SlimAppend

MOST_KNOWN: Final = 20_000
"""How many executions are known at a time; each takes some 250 bytes."""


class _Known(NamedTuple):
    """The place of an execution, as an owner with this epoch has left it."""

    place: Place
    epoch: int


class KnownPlaces:
    """The places of executions that have not ended, the longest not written to first."""

    def __init__(self) -> None:
        self._known: dict[ExecutionId, _Known] = {}

    def forget(self) -> None:
        """Know nothing any more, since somebody else may have written."""
        self._known.clear()

    def forget_of(self, appends: Iterable[Append]) -> None:
        """Know nothing of the executions of some appends any more."""
        for append in appends:
            self._known.pop(append.execution_id, None)

    def plan_for(
        self, appends: Sequence[Append], keys: Iterator[int]
    ) -> tuple[AppendPlan, dict[int, int]] | None:
        """Return an empty plan and the epoch of each partition; None where the store must be asked.

        It must be where an execution is not known, or has ancestors, and where large values, values
        of search keys, or no records are written.
        """
        known, epochs = self._known, dict[int, int]()
        places: dict[ExecutionId, Place] = {}
        created: set[ExecutionId] = set()
        for append in appends:
            execution_id, epoch = append.execution_id, append.epoch
            if epochs.setdefault(append.fencing_scope, epoch) != epoch:
                return None
            if _writes_more_than_records(append):
                return None
            if append.new is not None:
                if append.new.ancestors or execution_id in known:
                    return None
                created.add(execution_id)
            elif execution_id not in created:
                found = known.get(execution_id)
                if found is None or found.epoch != epoch:
                    return None
                places[execution_id] = found.place
        return AppendPlan(epochs={}, places=places, keys=keys), epochs

    def keep(
        self, appends: Sequence[Append], plan: AppendPlan, unfinished: Iterable[ExecutionId] = ()
    ) -> None:
        """Keep what appends have left that were written by this plan.

        ``unfinished`` are executions that had not ended before. One that has may be removed by
        anybody, so it is not known.
        """
        known, open_ones = self._known, set(unfinished)
        for append in appends:
            execution_id = append.execution_id
            is_open = known.pop(execution_id, None) is not None or execution_id in open_ones
            open_ones.discard(execution_id)
            if append.closing is not None:
                continue
            place = plan.place_of(execution_id)
            if place and (is_open or append.new is not None or append.status is not None):
                known[execution_id] = _Known(place, append.epoch)
        if len(known) > MOST_KNOWN:
            for each in list(islice(known, len(known) - MOST_KNOWN)):
                del known[each]


def _writes_more_than_records(append: Append) -> bool:
    is_more = isinstance(append, SlimAppend) or append.search_values is not None
    return is_more or not append.records
