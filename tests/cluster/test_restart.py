"""A stack that is killed whole, in the middle of everything, goes on after its restart: all
that it had acknowledged is there, and whatever waited still waits."""

import time
from typing import Any, Final

import pytest

from rillflow.ids import is_dedicated
from tests.cluster.api import Api, Functions
from tests.cluster.load import Load, steps, under_load
from tests.cluster.processes import OwnStack

pytestmark = pytest.mark.cluster

RETRY_S: Final = 8
"""Longer than it takes to kill the stack once the retry waits; its restart takes as long."""
DELAY_S: Final = 12
HEADER: Final = "workspace: restart\ndagName: NAME\ntype: flow\ntasks:\n"
ORDER: Final = """
  - name: order
    category: function
    pattern: task_async
    resourceName: FUNCTIONS/answer
    outputMappings: [{ source: $.output.n, target: $.context.order }]
    next: after
  - name: after
    category: function
    pattern: task_sync
    resourceName: FUNCTIONS/AFTER
    inputMappings: [{ source: $.context.order, target: $.input.n }]
    outputMappings: [{ source: $.output.n, target: $.context.after }]
"""
RETRY: Final = """
  - name: twice
    category: function
    pattern: task_sync
    resourceName: FUNCTIONS/answer
    inputMappings: [{ source: $.context.replies, target: $.input.replies }]
    retry: { maxRetryTimes: 1, intervalInSeconds: RETRY_S }
"""
DELAY: Final = """
  - name: later
    category: function
    pattern: task_sync
    resourceName: FUNCTIONS/answer
    timeline: { suspenseIntervalSeconds: "DELAY_S" }
"""
SIGNAL: Final = """
  - name: door
    category: suspense
    inputMappings:
      - { source: $.context.left, target: $.input.left }
      - { source: $.context.right, target: $.input.right }
    conditions: [$.input.left, $.input.right]
    outputMappings:
      - { source: $.output.left, target: $.context.left }
      - { source: $.output.right, target: $.context.right }
"""
CHILD: Final = """
  - name: ask
    category: function
    pattern: flow_sync
    resourceName: rillflow://restart:waiting
    outputMappings: [{ source: $.output.after, target: $.context.after }]
"""
LOOP: Final = """
  - name: rounds
    category: foreach
    inputMappings: [{ source: $.context.list, target: $.input.list }]
    iterationMapping: { collection: $.input.list, item: item }
    synchronization: { conditions: [$.input.list], maxConcurrency: "2" }
    outputMappings: [{ source: "$.output.sub_context.[*].gate", target: $.context.gates }]
    tasks:
      - name: visit
        category: function
        pattern: task_sync
        resourceName: FUNCTIONS/gate/restart
        outputMappings: [{ source: $.output.gate, target: $.context.gate }]
"""


class Survivors:
    """The executions that were under way when the stack was killed, by what they waited for."""

    def __init__(self, api: Api, functions: Functions, load: Load) -> None:
        self.api, self.functions, self.load = api, functions, load
        self.killed_at_s = 0.0
        self.waiting = self._submit("waiting", ORDER)
        self.dedicated = self._submit("dedicated", ORDER, isolation="dedicated")
        self.answered = self._submit("answered", ORDER, after="gate/restart")
        self.parent = self._submit("parent", CHILD)
        self.signal = self._submit("signal", SIGNAL)
        self.loop = self._submit("loop", LOOP, {"list": [1, 2, 3]})
        self.delayed = self.retried = ""

    def get_under_way(self) -> None:
        """Wait until each has come to where it waits, and take what is acknowledged there."""
        api = self.api
        for execution_id in (self.waiting, self.dedicated, self.answered):
            api.until_task(execution_id, "order", "RUNNING")
            self.functions.calls(execution_id, 1)
        api.until_task(self.signal, "door", "RUNNING")
        assert api.wake_up(self.signal, "door", {"left": True}).status == 200
        self.functions.calls(self.loop, 2)
        api.until(self.parent, lambda shown: bool(self._child_in(shown)))
        assert api.trigger(self.answered, "order", body={"n": 7}).body == {"result": "ok"}
        # The last of all, since they do not wait for long.
        self.delayed = self._submit("delayed", DELAY)
        api.until_task(self.delayed, "later", "READY")
        replies = [{"status": 500}, {"json": {}}]
        self.retried = self._submit("retried", RETRY, {"replies": replies})
        api.until_task(self.retried, "twice", "READY")

    @property
    def child(self) -> str:
        """The child that the parent waits for."""
        return self._child_in(self.api.get(self.parent))

    def _child_in(self, shown: Any) -> str:
        return str(shown["tasks"]["ask"]["invoke_msg"].get("referenced_dag_execution_id", ""))

    def _submit(
        self, name: str, tasks: str, data: Any = None, after: str = "answer", **query: str
    ) -> str:
        text = (HEADER + tasks.lstrip("\n")).replace("NAME", name)
        for word, value in {
            "FUNCTIONS": self.functions.url,
            "AFTER": after,
            "RETRY_S": str(RETRY_S),
            "DELAY_S": str(DELAY_S),
        }.items():
            text = text.replace(word, value)
        return self.api.submit(text, data, **query)


@pytest.fixture(name="survivors", scope="module")
def _survivors(other_stack: OwnStack, other_api: Api, functions: Functions) -> Survivors:
    with under_load(other_stack.base_url, steps(functions.url)) as load:
        survivors = Survivors(other_api, functions, load)
        load.wait_for(100)
        survivors.get_under_way()
        survivors.killed_at_s = time.monotonic()
        other_stack.kill()
        load.stop()
    other_stack.start()
    return survivors


def test_every_acknowledged_submission_ends_right(survivors: Survivors) -> None:
    assert survivors.load.refused
    survivors.load.check_ends()


def test_a_task_that_waited_for_its_callback_gets_it(survivors: Survivors) -> None:
    api = survivors.api
    assert api.get(survivors.waiting)["tasks"]["order"]["status"] == "RUNNING"
    assert api.trigger(survivors.waiting, "order", body={"n": 1}).body == {"result": "ok"}
    ended = api.end(survivors.waiting)
    assert (ended.status, ended.context["order"], ended.context["after"]) == ("SUCCEED", 1, 2)


def test_an_acknowledged_callback_is_not_forgotten(survivors: Survivors) -> None:
    api = survivors.api
    shown = api.get(survivors.answered)
    assert shown["tasks"]["order"]["status"] == "SUCCEEDED"
    assert shown["context"]["order"] == 7
    again = api.trigger(survivors.answered, "order", body={"n": 8})
    assert again.body == {"result": "ok", "duplicate": True}
    survivors.functions.open("restart")
    assert api.end(survivors.answered).context["order"] == 7


def test_what_was_being_called_is_called_again_as_the_same_attempt(survivors: Survivors) -> None:
    survivors.functions.open("restart")
    ended = survivors.api.end(survivors.answered)
    assert ended.status == "SUCCEED"
    calls = [
        call for call in survivors.functions.calls(survivors.answered) if call["task"] == "after"
    ]
    assert [call["headers"]["x-rillflow-attempt"] for call in calls] == ["1"] * len(calls)
    assert len({call["headers"]["idempotency-key"] for call in calls}) == 1
    assert len(ended.task("after")["invoke_msg"]["invoke_time_infos"]) == 1


def test_a_loop_goes_on_where_it_was(survivors: Survivors) -> None:
    survivors.functions.open("restart")
    ended = survivors.api.end(survivors.loop)
    assert (ended.status, ended.context["gates"]) == ("SUCCEED", ["restart"] * 3)


def test_a_signal_that_was_acknowledged_counts_and_the_next_one_is_waited_for(
    survivors: Survivors,
) -> None:
    api = survivors.api
    shown = api.get(survivors.signal)
    assert shown["tasks"]["door"]["status"] == "RUNNING"
    assert shown["context"]["left"] is True
    assert api.wake_up(survivors.signal, "door", {"right": True}).status == 200
    assert api.end(survivors.signal).status == "SUCCEED"


def test_a_dedicated_execution_gets_its_actor_back(survivors: Survivors) -> None:
    api = survivors.api
    assert is_dedicated(survivors.dedicated)
    assert api.trigger(survivors.dedicated, "order", body={"n": 3}).body == {"result": "ok"}
    ended = api.end(survivors.dedicated)
    assert (ended.status, ended.context["after"]) == ("SUCCEED", 4)


def test_a_parent_still_hears_of_its_childs_end(survivors: Survivors) -> None:
    api = survivors.api
    assert api.trigger(survivors.child, "order", body={"n": 5}).body == {"result": "ok"}
    ended = api.end(survivors.parent)
    assert (ended.status, ended.context["after"]) == ("SUCCEED", 6)


def test_a_retry_that_was_due_comes_after_its_delay(survivors: Survivors) -> None:
    ended = survivors.api.end(survivors.retried)
    assert ended.status == "SUCCEED"
    first, second = ended.task("twice")["invoke_msg"]["invoke_time_infos"]
    assert second["start_time"] - first["end_time"] >= RETRY_S * 1000
    calls = survivors.functions.calls(survivors.retried)
    assert [call["headers"]["x-rillflow-attempt"] for call in calls] == ["1", "2"]


def test_a_task_that_was_delayed_starts_when_it_should(survivors: Survivors) -> None:
    ended = survivors.api.end(survivors.delayed)
    assert ended.status == "SUCCEED"
    [info] = ended.task("later")["invoke_msg"]["invoke_time_infos"]
    assert info["end_time"] - info["start_time"] >= DELAY_S * 1000
    assert len(survivors.functions.calls(survivors.delayed)) == 1
