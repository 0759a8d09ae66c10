"""Data that the engine writes have no ids of executions of other workspaces (spec 3.15).

Who knows the id of an execution may wake its tasks, and of data a caller may read any part.
"""

from typing import Final

import pytest

from rillflow.core import machine
from rillflow.core.commands import CancelChild, DispatchTask, NotifyParent
from rillflow.core.events import (
    CallbackReceived,
    DispatchAnswered,
    ExecutionSettings,
    ExecutionSubmitted,
    ParentLink,
    RouteStep,
)
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.definition import parse_definition
from rillflow.jsontypes import encode_json
from rillflow.language.versions import CURRENT, IDS_OF_OTHERS_HIDDEN
from rillflow.runtime.commands.subflows import MOST_LEVELS, Inherited, start_flow
from rillflow.testing import Scenario
from tests.spec.notation import flow, fn, pass_
from tests.spec.test_subflows import Nowhere, notice
from tests.submissions import submission_event

UNIQUE: Final = "8f0f9c00-0000-11f0-8000-00000000abc"
NOT_SHOWN: Final = "00000000-0000-0000-0000-000000000000"
ROOT: Final = f"video:root_c_{UNIQUE}1"
MIDDLE: Final = f"tools:middle_c_{UNIQUE}2"
LEAF: Final = f"video:leaf_c_{UNIQUE}3"
OWN: Final = f"video:own_c_{UNIQUE}4"
ITS_ID: Final = {"source": "$.output.execution_id", "target": "$.context.started"}


def child(execution_id: str, *above: str) -> Scenario:
    """Return a sub-flow that itself starts one, and passes its id on in its context."""
    route = [RouteStep(execution_id=one, task="A", pattern="flow_sync") for one in above]
    link = ParentLink(execution_id=above[-1], task="A", attempt=1, pattern="flow_sync")
    text = flow(fn("A", "flow_sync", outs=[ITS_ID]))
    return Scenario(text, execution_id=execution_id, parent=link, route=route, check=True)


def test_the_context_of_a_sub_flow_has_no_root_of_another_workspace() -> None:
    roots = []
    for execution_id in (MIDDLE, LEAF):
        run = child(execution_id, ROOT)
        run.submit()
        roots.append(run.state.context["flow_root_execution_id"])
    assert roots == [f"video:root_c_{NOT_SHOWN}", ROOT]


@pytest.mark.parametrize("kind", ["flow_sync", "flow_async"])
def test_the_output_of_a_start_has_no_id_of_another_workspace(kind: str) -> None:
    for started, known in ((MIDDLE, f"tools:middle_c_{NOT_SHOWN}"), (LEAF, LEAF)):
        run = Scenario(flow(fn("A", kind, outs=[ITS_ID])), execution_id=OWN, check=True)
        run.submit()
        run.answer("A", {"execution_id": started})
        invoke = run.task("A").invoke
        assert (run.context["started"], invoke.output) == (known, {"execution_id": known})
        assert invoke.referenced_execution_id == started
        if kind == "flow_sync":
            assert run.cancel() == [CancelChild(execution_id=started)]


def test_the_outcome_of_a_sub_flow_has_only_ids_of_the_workspace_that_gets_it() -> None:
    """Also not those which the author of the sub-flow has put into its context."""
    run = child(MIDDLE, ROOT)
    run.submit()
    run.answer("A", {"execution_id": f"tools:next_c_{UNIQUE}5"})
    assert run.context["started"] == f"tools:next_c_{UNIQUE}5"
    told = notice(run.finish("A", msg=f"{MIDDLE} failed", ext={"by": MIDDLE}, succeeded=False))
    assert told.execution_id == ROOT
    assert UNIQUE not in str(told.callback)
    assert told.callback.msg == f"tools:middle_c_{NOT_SHOWN} failed"


def test_within_a_workspace_nothing_is_hidden() -> None:
    run = child(LEAF, OWN)
    run.submit()
    run.answer("A", {"execution_id": ROOT})
    told = notice(run.finish("A")).callback
    assert told.output == encode_json(run.state.context)
    assert run.state.context == {
        "flow_execution_id": LEAF,
        "flow_root_execution_id": OWN,
        "started": ROOT,
    }


def test_an_older_execution_goes_on_with_the_ids_that_it_was_told() -> None:
    plan = Plan(parse_definition(encode_json(flow(fn("A", "flow_sync"), pass_("B")))), "")
    for language, is_told in ((IDS_OF_OTHERS_HIDDEN - 1, True), (CURRENT, False)):
        event = submitted(MIDDLE, ROOT, language)
        state, _ = machine.submit(plan, event)
        assert (state.context["flow_root_execution_id"] == ROOT) is is_told
        body = encode_json({"execution_id": LEAF})
        machine.handle(plan, state, DispatchAnswered(at_ms=0, task="A", attempt=1, body=body))
        assert (state.tasks["A"].invoke.output == {"execution_id": LEAF}) is is_told
        assert (MIDDLE in str(parent_told(plan, state))) is is_told


def submitted(execution_id: str, parent: str, language: int) -> ExecutionSubmitted:
    link = ParentLink(execution_id=parent, task="A", attempt=1, pattern="flow_sync")
    route = (RouteStep(execution_id=parent, task="A", pattern="flow_sync"),)
    return submission_event(execution_id, at_ms=0, language=language, parent=link, route=route)


def parent_told(plan: Plan, state: ExecutionState) -> NotifyParent:
    event = CallbackReceived(at_ms=0, task="A", attempt=1, output=b"{}", succeeded=True)
    return notice(list(machine.handle(plan, state, event).commands))


@pytest.mark.parametrize(("above", "is_told"), [("video", True), ("tools", False)])
async def test_the_message_of_too_deep_a_chain_has_ids_within_a_workspace_only(
    above: str, *, is_told: bool
) -> None:
    chain = tuple((f"{above}:f_c_{UNIQUE}{n}", "A", "flow_sync") for n in range(1, MOST_LEVELS))
    request = DispatchTask(
        execution_id=OWN,
        task="A",
        attempt=1,
        pattern="flow_sync",
        resource_name="rillflow://video:next",
        route=chain,
    )
    answer = await start_flow(
        request,
        catalogue=Nowhere(),
        executions=Nowhere(),
        clock=Nowhere(),
        host="http://here",
        inherited=Inherited(ExecutionSettings()),
    )
    assert (str(answer.error).count(UNIQUE) == MOST_LEVELS) is is_told
    assert (UNIQUE not in str(answer.error)) is not is_told
