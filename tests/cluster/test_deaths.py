"""An execution that kills its owner's process does so twice at most; kills from outside are none.

A call that kills its dispatcher's process fails after a few deaths.

A stack of its own, with a hook that kills the execution actor in the midst of some tasks, and a
plugin that kills its dispatcher.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from rillflow.runtime.dispatch.suspect_calls import DIED
from tests.cluster import fatal_plugin
from tests.cluster.api import LOOK_S, Api, Functions
from tests.cluster.fatal_hook import DEATHS_FILE
from tests.cluster.processes import ROOT, OwnStack, kill, workers
from tests.loopback import closed_port

pytestmark = pytest.mark.cluster

MOST_DEATHS: Final = 2
MOST_DEATHS_OF_A_PLUGIN: Final = 3
KILLS: Final = 10
PATIENCE_S: Final = 60.0
DEATHS_OF: Final = "SELECT count(*) FROM deaths WHERE execution_id = ?"


@pytest.fixture(name="deaths", scope="module")
def _deaths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deaths") / "deaths"


@pytest.fixture(name="mortal", scope="module")
def _mortal(deaths: Path) -> Iterator[OwnStack]:
    stack = OwnStack(
        deaths.parent / "data",
        closed_port(),
        RILLFLOW_HOOKS="tests.cluster.fatal_hook:die",
        RILLFLOW_PLUGINS="tests.cluster.fatal_plugin:Fatal",
        PYTHONPATH=str(ROOT),
        **{DEATHS_FILE: str(deaths), fatal_plugin.DEATHS_FILE: f"{deaths}-of-calls"},
    )
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(name="api", scope="module")
def _api(mortal: OwnStack) -> Iterator[Api]:
    with Api(mortal.base_url) as api:
        yield api


def one_task(name: str, url: str) -> str:
    return f"""
workspace: deaths
dagName: {name}Flow
type: flow
tasks:
  - {{ name: {name}, category: function, pattern: task_sync, resourceName: "{url}/answer",
      inputMappings: [{{ source: "1", target: $.input.n }}] }}
"""


def test_after_the_second_time_it_is_set_apart_and_the_others_end(
    api: Api, functions: Functions, deaths: Path
) -> None:
    others = [api.submit(one_task("harmless", functions.url)) for _ in range(3)]
    fatal = [
        api.submit(one_task("fatalAnswer", functions.url)),
        api.submit(one_task("fatalCall", functions.url)),
        api.submit(one_task("fatalAnswer", functions.url), isolation="dedicated"),
    ]
    others += [api.submit(one_task("harmless", functions.url)) for _ in range(3)]
    reasons = [api.until(each, lambda shown: "quarantine" in shown)["quarantine"] for each in fatal]
    told = "the process that handled it died 2 times"
    assert [reason for reason in reasons if not reason.startswith(told)] == []
    assert "DispatchAnswered fatalAnswer" in reasons[0]
    assert "commands" in reasons[1]
    assert [api.end(each).status for each in others] == ["SUCCEED"] * len(others)
    assert Counter(deaths.read_text(encoding="utf-8").split()) == dict.fromkeys(fatal, MOST_DEATHS)
    for each in fatal:
        assert api.ask("POST", "/flow/cancel.json", execution_id=each).status == 200
        ended = api.end(each)
        assert (ended.status, ended.shown.get("quarantine")) == ("FAILED", None)
    assert len(deaths.read_text(encoding="utf-8").split()) == MOST_DEATHS * len(fatal)


def test_a_call_that_kills_its_dispatcher_fails_and_the_others_go_on(
    api: Api, functions: Functions, deaths: Path
) -> None:
    def calling(name: str, value: str) -> str:
        return f"""
workspace: deaths
dagName: {name}
type: flow
tasks:
  - name: call
    category: function
    pattern: task_sync
    resourceName: fatal://{value}
    retry: {{ maxRetryTimes: 3, intervalInSeconds: 1 }}
"""

    others = [api.submit(one_task("harmless", functions.url)) for _ in range(3)]
    fatal = api.submit(calling("killing", "dispatcher"))
    others += [api.submit(calling("friendly", "harmless")) for _ in range(3)]
    ended = api.end(fatal, wait_s=PATIENCE_S)
    assert ended.status == "FAILED"
    assert DIED in str(ended.task("call")["invoke_msg"])
    assert [api.end(each).status for each in others] == ["SUCCEED"] * len(others)
    killed = Path(f"{deaths}-of-calls").read_text(encoding="utf-8").split()
    assert killed == [fatal] * MOST_DEATHS_OF_A_PLUGIN


def test_ten_kills_from_outside_set_nothing_apart(
    mortal: OwnStack, api: Api, functions: Functions
) -> None:
    text = f"""
workspace: deaths
dagName: wide
type: flow
tasks:
  - name: each
    category: foreach
    iterationMapping: {{ collection: $.input.items, item: item }}
    inputMappings: [{{ source: $.context.items, target: $.input.items }}]
    tasks:
      - name: one
        category: function
        pattern: task_sync
        resourceName: {functions.url}/answer
        inputMappings: [{{ source: $.context.item, target: $.input.n }}]
"""
    execution_id = api.submit(text, {"items": list(range(400))})
    for number in range(KILLS):
        victims = until_there(mortal)
        if not is_unsuspected(mortal, api, execution_id):
            execution_id = api.submit("deaths:wide", {"items": list(range(400))})
        time.sleep(0.05 * (number % 3))
        kill(*victims)
    ended = api.end(execution_id, wait_s=PATIENCE_S)
    assert (ended.status, ended.shown.get("quarantine")) == ("SUCCEED", None)


def is_unsuspected(stack: OwnStack, api: Api, execution_id: str) -> bool:
    """Wait until the step of the last death has succeeded; false if the execution ends before.

    A kill before that would be a second death in its work, for all that anybody can know.
    """
    give_up = time.monotonic() + PATIENCE_S
    with closing(sqlite3.connect(stack.data_dir / "rillflow.db")) as store:
        while api.get(execution_id)["dag_status"] == "RUNNING":
            ((deaths,),) = store.execute(DEATHS_OF, (execution_id,))
            if deaths == 0:
                return True
            assert time.monotonic() < give_up
            time.sleep(LOOK_S)
    return False


def until_there(stack: OwnStack) -> list[int]:
    give_up = time.monotonic() + PATIENCE_S
    while not (found := workers(stack.pid, "ExecutionActor")):
        assert time.monotonic() < give_up
        time.sleep(LOOK_S)
    return found
