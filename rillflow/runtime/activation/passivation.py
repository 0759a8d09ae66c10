"""Noting which executions wait for others only, so that a start need not read them."""

import logging

from rillflow.errors import StoreError
from rillflow.ports.store import Journal
from rillflow.runtime.activation.active_execution import ActiveExecution
from rillflow.runtime.activation.fencing import OwnerEpoch
from rillflow.runtime.activation.journal_rows import rest_of
from rillflow.runtime.aio.background import BackgroundTasks, Crashed

log = logging.getLogger("rillflow.passivation")


class Passivation:
    """Sees to executions that leave memory to make room for others.

    One that has no call under way, no timer and nobody to tell is noted as resting, under the
    number of its events: an event that comes meanwhile wins. That costs what goes on quickly
    nothing, and what could not be noted is read at the next start.
    """

    def __init__(self, journal: Journal, ownership: OwnerEpoch, crashed: Crashed) -> None:
        self._journal = journal
        self._ownership = ownership
        self._walks = BackgroundTasks(crashed)

    def left(self, hosted: ActiveExecution) -> None:
        """Take leave of an execution."""
        if not hosted.noted_as_resting and hosted.rests:
            self._walks.begin(hosted.state.execution_id, self._note(hosted))

    async def stop(self) -> None:
        """Give up what is not noted yet."""
        await self._walks.stop()

    async def _note(self, hosted: ActiveExecution) -> None:
        try:
            await self._journal.append([rest_of(hosted, self._ownership)])
        except StoreError as error:
            log.debug("rest_not_noted", extra={"reason": str(error)})
