"""Sample workflows with a sample worker: add a descriptor, submit, poll ``get.json``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.api import ENDED, Api, Ended, Json
from tests.cluster.processes import announced

pytestmark = pytest.mark.cluster

HERE: Final = Path(__file__).parent


class Samples:
    """The sample workflows, with the address of a worker that runs."""

    def __init__(self, api: Api, worker_url: str) -> None:
        self._api, self._worker_url = api, worker_url

    def text(self, name: str) -> str:
        """Return a definition."""
        text = (HERE / "workflows" / f"{name}.yaml").read_text(encoding="utf-8")
        return text.replace("${WORKER}", self._worker_url)

    def run(self, name: str, data: Json) -> Ended:
        """Add a definition, submit it, and poll until it has ended."""
        added = self._api.add(self.text(name))
        assert added.status == 200
        assert added.body["ret"] is True
        execution_id = self._api.submit(added.body["descriptor_id"], data)
        shown = self._api.until(execution_id, lambda shown: shown["dag_status"] in ENDED)
        return Ended(execution_id, shown)


@pytest.fixture(name="samples", scope="module")
def _samples(api: Api) -> Iterator[Samples]:
    with announced(str(HERE / "sample_worker.py")) as url:
        yield Samples(api, url)


@pytest.mark.parametrize("_time", range(4))
@pytest.mark.case("E2E-01")
def test_choice_by_returns(samples: Samples, _time: int) -> None:
    ended = samples.run("choice", {"input_num": 10})
    number, statuses = ended.context["random_num"], ended.task_statuses()
    assert ended.status == "SUCCEED"
    assert 1 <= number <= 10
    taken, left = ("Two", "One") if number < 5 else ("One", "Two")
    # A return whose condition fails is skipped itself and lets its branch go on.
    assert statuses[f"choice{taken}"] == "SKIPPED"
    assert statuses[f"choice{taken}Pass"] == "SUCCEEDED"
    assert statuses[f"choice{left}"] == "SUCCEEDED"
    assert statuses[f"choice{left}Pass"] == "SKIPPED"
    assert ended.context["choice_num"] == (-number if number < 5 else 10 * number)
    assert ended.context["result"] == ended.context["choice_num"]


@pytest.mark.case("E2E-02")
def test_call_api(samples: Samples) -> None:
    ended = samples.run("call-api", {"input_num": 10})
    assert ended.status == "SUCCEED"
    assert ended.context["sum"] == 285
    assert ended.task_statuses() == {
        "callApiNode": "SUCCEEDED",
        "returnNode": "SKIPPED",
        "printNode": "SUCCEEDED",
    }
    assert "print_result" not in ended.context


@pytest.mark.parametrize("_time", range(4))
@pytest.mark.case("E2E-03")
def test_switch_with_a_default(samples: Samples, _time: int) -> None:
    ended = samples.run("switch", {"input_num": 10})
    number, statuses = ended.context["random_num"], ended.task_statuses()
    taken, left = ("One", "Two") if number >= 5 else ("Two", "One")
    assert statuses[f"choice{taken}Pass"] == "SUCCEEDED"
    assert statuses[f"choice{left}Pass"] == "SKIPPED"
    assert statuses["printNode"] == "SUCCEEDED"
    assert ended.context["result"] == (10 * number if number >= 5 else -number)


@pytest.mark.case("E2E-04")
def test_parallel_asynchronous_functions(samples: Samples) -> None:
    ended = samples.run("parallel-async", {"rand_num": 20})
    segments = ended.context["segments"]
    assert ended.status == "SUCCEED"
    assert segments == [n * len(segments) for n in range(len(segments))]
    results = ended.context["callback_result_list"]
    assert results == [segment * 100 for segment in segments]
    assert ended.context["sum"] == sum(results)


@pytest.mark.case("E2E-05")
def test_a_sub_flow_whose_result_is_used(api: Api, samples: Samples) -> None:
    api.add(samples.text("parallel-async"))
    ended = samples.run("sub-flow", {"parent_rand_num": 20})
    child = api.get(ended.task("refNode")["invoke_msg"]["referenced_dag_execution_id"])
    assert (ended.status, child["dag_status"]) == ("SUCCEED", "SUCCEED")
    assert ended.context["sub_context"]["sum"] == child["context"]["sum"]
    assert ended.context["sub_callback"]["print"] == child["context"]["sum"] * 10


@pytest.mark.case("E2E-06")
def test_http_get(samples: Samples) -> None:
    ended = samples.run("http-get", {"user": "Bob"})
    assert ended.task_statuses() == {"getNode": "SUCCEEDED"}
    assert "result" not in ended.context
    assert sorted(ended.context["greeting"]) == [
        f"execution_id={ended.execution_id}",
        "name=getNode",
        "user=Bob",
    ]


@pytest.mark.case("E2E-07")
def test_http_post(samples: Samples) -> None:
    ended = samples.run("http-post", {"user": "Bob", "title": "t"})
    assert ended.status == "SUCCEED"
    assert ended.context["result"] == {
        "user": "Bob",
        "title": "t",
        "name": "postNode",
        "execution_id": ended.execution_id,
    }


@pytest.mark.case("E2E-09")
def test_two_greetings(samples: Samples) -> None:
    ended = samples.run("greet", {"Bob": "hi", "Alice": "yo"})
    assert ended.task_statuses() == {"Bob": "SUCCEEDED", "Alice": "SUCCEEDED"}
    assert ended.task("Bob")["invoke_msg"]["input"] == {"Bob": "hi"}
    assert ended.task("Alice")["invoke_msg"]["input"] == {"Alice": "yo"}


def test_text_to_image(api: Api, samples: Samples) -> None:
    ended = samples.run("text-to-image", {"wish": "a lighthouse", "size": "64x64"})
    assert ended.status == "SUCCEED"
    assert ended.context["gallery"] == [
        "a lighthouse, view 1 (64x64, 0) x4",
        "a lighthouse, view 3 (64x64, 2) x4",
    ]
    refused = api.group(ended.execution_id, "draw", 1)["draw_1-paint"]
    assert refused["status"] == "SKIPPED"
    assert set(ended.task("draw")["sub_group_index_to_status"].values()) == {"SUCCEED"}


@pytest.mark.case("E2E-10")
def test_the_brief_view_leaves_the_tasks_out(api: Api, samples: Samples) -> None:
    ended = samples.run("greet", {"Bob": "hi", "Alice": "yo"})
    brief = api.get(ended.execution_id, brief="true")
    assert "tasks" not in brief
    assert (brief["process"], brief["dag_status"]) == (100, "SUCCEED")
    assert brief["execution_id"] == ended.execution_id
