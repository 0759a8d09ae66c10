"""The redo event: which tasks run again, and in which scope (spec 3.17).

Used by `core/machine.py`.
"""

from rillflow.core import ending
from rillflow.core.encoding.stored_context import stored_context
from rillflow.core.events import RedoRequested
from rillflow.core.redo import reopening, restart
from rillflow.core.redo.failed_parts import failed_parts, named_parts
from rillflow.core.redo.names import refuse_unknown_names
from rillflow.core.status import STARTED, DagStatus, TaskStatus
from rillflow.core.turn import Turn
from rillflow.errors import ExecutionError
from rillflow.jsontypes import decode_json
from rillflow.language.budget import TotalBudget
from rillflow.language.versions import CONTEXTS_BOUNDED, unknown_rules


def redo_requested(turn: Turn, event: RedoRequested) -> bool:
    """Run tasks, and all tasks that follow them, again (spec 3.17).

    Returns:
        False for a repeated request of the parent.

    Raises:
        ExecutionError: The execution is of a later language than this release knows.
    """
    state = turn.state
    if unknown := unknown_rules(state.language):
        raise ExecutionError(unknown)
    if event.failed_only and event.exact:
        refuse_unknown_names(turn, event.tasks)
    if event.order:
        if event.order <= state.redo_order:
            return False
        state.redo_order = event.order
    data = decode_json(event.data)
    if isinstance(data, dict) and data:
        context = {**state.context, **data}
        if state.language >= CONTEXTS_BOUNDED:
            turn.save(context, state)
        else:  # it was not charged
            uncharged = TotalBudget(None, None, state.language)
            most_bytes = state.context_max_bytes
            state.context = stored_context(context, state.context, most_bytes, uncharged)
    if event.failed_only:
        _redo_failed(turn, event)
    else:
        _redo_whole(turn, event)
    return True


def _redo_failed(turn: Turn, event: RedoRequested) -> None:
    """Run what failed again, and keep what succeeded.

    Without names, a failed execution is restarted even if no task is to be run again. A parent that
    requested the redo is notified of the outcome once more if there is nothing to do.
    """
    state = turn.state
    if event.tasks:
        parts = named_parts(turn, event.tasks)
    else:
        parts = failed_parts(turn, turn.plan.level.tasks)
    if parts or (state.status is DagStatus.FAILED and not event.tasks):
        reopening.reopen(turn, parts, ordered=event.order > 0)
    elif turn.over and event.order:
        ending.notify_parent(turn)


def _redo_whole(turn: Turn, event: RedoRequested) -> None:
    """Run tasks of the top level again with everything inside them.

    Without names, a cancelled execution is restarted even if no task is to be run again: calls that
    were under way at the cancellation may have ended since.
    """
    targets = _redo_targets(turn, event)
    goes_on = turn.over and turn.state.cancelled and not event.tasks
    if not targets and not goes_on:
        return
    revived = restart.begin(turn, tells_parent=event.failed_only is not None)
    restart.set_back(turn, restart.with_followers(turn, targets))
    restart.go_on(turn, revived=revived)


def _redo_targets(turn: Turn, event: RedoRequested) -> list[str]:
    tasks = turn.state.tasks
    if event.tasks:
        names = [name.strip().split("_")[0] for name in event.tasks]
        return [n for n in dict.fromkeys(names) if n in tasks and STARTED[tasks[n].status]]
    settled = (TaskStatus.NOT_STARTED, TaskStatus.SUCCEED, TaskStatus.SKIPPED)
    return [n for n in turn.plan.level.tasks if tasks[n].status not in settled]
