"""Noting in the store what spares later lives work, beside the events of executions."""

import logging

from rillflow.errors import StoreError
from rillflow.ports.store import Append, Journal
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.activation.journal_rows import JournalRows
from rillflow.runtime.aio.background import BackgroundTasks, Crashed

log = logging.getLogger("rillflow.passivation")


class Passivation:
    """Sees to executions that leave memory to make room for others, and come back.

    One that has no call under way, no timer and nobody to tell is noted as resting, under the
    number of its events: an event that comes meanwhile wins. That costs what goes on quickly
    nothing, and what could not be noted is read at the next start. Of one whose replay took
    long a snapshot is written, since it may leave memory again before its next event.
    """

    def __init__(self, journal: Journal, rows: JournalRows, crashed: Crashed) -> None:
        self._journal = journal
        self._rows = rows
        self._walks = BackgroundTasks(crashed)

    def left(self, hosted: ActiveExecution) -> None:
        """Take leave of an execution."""
        if not hosted.noted_as_resting and hosted.rests:
            self._walks.begin(hosted.state.execution_id, self._note(self._rows.rest_of(hosted)))

    def replayed(self, hosted: ActiveExecution) -> None:
        """See to an execution of this owner that was just read."""
        if self._rows.owes_snapshot(hosted):
            append = self._rows.snapshot_of(hosted)
            self._walks.begin(hosted.state.execution_id, self._note(append))

    async def stop(self) -> None:
        """Give up what is not noted yet."""
        await self._walks.stop()

    async def _note(self, append: Append) -> None:
        try:
            await self._journal.append([append])
        except StoreError as error:
            log.debug("not_noted", extra={"reason": str(error)})
