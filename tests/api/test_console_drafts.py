"""The console looks at definitions that are being written, and tries them on the data of the past.

Nobody is called, and nothing is stored.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from rillflow.errors import OverloadedError
from rillflow.runtime.aio.author_threads import FOR_DRY_RUNS
from tests.api.definition_texts import PASS, SUSPENDED, calling
from tests.api.serving import Api, served

V1: Final = "/flow/console/v1/"
UNKNOWN: Final = "shop:order_c_8f0f9c00-0000-11f0-8000-000000000000"
TWO: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: first
    category: function
    pattern: task_sync
    resourceName: ${GW}/function/greet
    next: second
    inputMappings: [{source: $.context.name, target: $.input.name}]
    outputMappings: [{source: $.output.greeting, target: $.context.greeting}]
  - name: second
    category: switch
    inputMappings: [{source: $.context.greeting, target: $.input.text}]
    switches:
      - {condition: "$.input.[?(@.text == 'Hello')]", next: left}
      - {condition: default, next: right}
  - {name: left, category: pass}
  - {name: right, category: pass}
"""
MALFORMED: Final[list[Any]] = [
    {},
    {"definition": 1},
    {"definition": PASS, "input": []},
    {"definition": PASS, "answers": {"A": {"result": 1}}},
    {"definition": PASS, "strange": 1},
]


@pytest.fixture(name="greeting")
async def _greeting() -> AsyncIterator[Api]:
    async with served({"greet": lambda _: {"greeting": "Hello"}}) as api:
        yield api


async def greeted(api: Api) -> str:
    """Run the definition once, and return the id of the execution."""
    return str((await api.run(TWO, {"name": "Bob"}))["execution_id"])


async def test_a_draft_has_its_problems_at_their_places(api: Api) -> None:
    shown = await api.post(f"{V1}draft.json", PASS.replace("category: pass", "category: psas"))
    assert (shown["valid"], "graph" in shown) == (False, False)
    [problem] = [each for each in shown["problems"] if each["severity"] == "error"]
    assert problem["line"] == PASS[: PASS.index("category")].count("\n") + 1


async def test_a_valid_draft_has_its_graph_and_its_difference_to_a_version(api: Api) -> None:
    version = await api.add(PASS)
    changed = PASS.replace("name: A", "name: B")
    shown = await api.post(f"{V1}draft.json", changed, descriptor_id=version)
    assert [node["name"] for node in shown["graph"]["nodes"]] == ["B"]
    assert (shown["business"], shown["feature"]) == ("shop", "order")
    assert (shown["diff"]["added"], shown["diff"]["removed"]) == (1, 1)
    assert (await api.post(f"{V1}draft.json", PASS))["diff"] is None
    unknown = f"shop:order:md5_{'0' * 32}"
    assert (await api.refusal(f"{V1}draft.json", PASS, descriptor_id=unknown))[0] == 404
    versions = await api.get(f"{V1}versions.json", flow="shop:order")
    assert len(versions["versions"]) == 1


async def test_a_dry_run_takes_its_input_and_answers_from_an_execution(greeting: Api) -> None:
    api = greeting
    execution_id = await greeted(api)
    called = len(api.gateway.calls)
    tried = await api.post(f"{V1}dry_run.json", {"definition": TWO}, execution_id=execution_id)
    assert (tried["status"], tried["context"]["greeting"]) == ("succeeded", "Hello")
    assert [(call["task"], call["answer"]) for call in tried["calls"]] == [("first", "past")]
    other = await api.post(
        f"{V1}dry_run.json",
        {
            "definition": TWO,
            "input": {"name": "Eve"},
            "answers": {"first": {"output": {"greeting": "Bye"}}},
        },
        execution_id=execution_id,
    )
    assert other["calls"][0]["input"] == {"name": "Eve"}
    statuses = {node["name"]: node["status"] for node in other["levels"][""]["nodes"]}
    assert (statuses["left"], statuses["right"]) == ("skipped", "succeeded")
    assert len(api.gateway.calls) == called


async def test_errors_and_attempts_are_answers_too(api: Api) -> None:
    text = calling("work", more="    retry: {maxRetryTimes: 1, intervalInSeconds: 5}\n")
    answers = {"A": [{"error": "busy"}, {"output": {"ok": True}}]}
    name = (await api.post(f"{V1}draft.json", text))["graph"]["nodes"][0]["name"]
    tried = await api.post(
        f"{V1}dry_run.json", {"definition": text, "answers": {name: answers["A"]}}
    )
    assert [call["attempt"] for call in tried["calls"]] == [1, 2]


@pytest.mark.parametrize("body", MALFORMED)
async def test_a_malformed_dry_run_is_refused(api: Api, body: Any) -> None:
    status, _, text = await api.refusal(f"{V1}dry_run.json", body)
    assert (status, "malformed" in text) == (400, True)


async def test_what_cannot_be_tried_is_refused(api: Api) -> None:
    broken = {"definition": PASS.replace("pass", "psas")}
    assert (await api.refusal(f"{V1}dry_run.json", broken))[0] == 400
    refused = await api.refusal(f"{V1}dry_run.json", {"definition": PASS}, execution_id=UNKNOWN)
    assert refused[0] == 404
    schema = 'enforceInputSchema: true\ninputSchema: \'{"required": ["name"]}\'\n'
    assert (
        "inputSchema" in (await api.refusal(f"{V1}dry_run.json", {"definition": schema + PASS}))[2]
    )


async def test_places_for_dry_runs_are_limited() -> None:
    gate = threading.Event()
    begun = [asyncio.ensure_future(FOR_DRY_RUNS.run("a", gate.wait)) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await FOR_DRY_RUNS.run("a", gate.wait)
    other = asyncio.ensure_future(FOR_DRY_RUNS.run("b", gate.wait))
    gate.set()
    assert await asyncio.gather(*begun, other) == [True] * 5


async def test_rules_are_shown_with_the_values_that_they_had(greeting: Api) -> None:
    api = greeting
    execution_id = await greeted(api)
    first = await api.get(f"{V1}rules.json", execution_id=execution_id, task="first")
    assert (first["inputs"]["basis"], first["outputs"]["basis"]) == ("exact", "exact")
    assert [rule["value"] for rule in first["inputs"]["rules"]] == ["Bob"]
    assert [rule["value"] for rule in first["outputs"]["rules"]] == ["Hello"]
    second = await api.get(f"{V1}rules.json", execution_id=execution_id, task="second")
    [condition] = second["conditions"]
    assert (condition["is_true"], condition["next"]) == (True, "left")
    assert condition["parts"][0]["value"] == "Hello"
    early = await api.get(f"{V1}rules.json", execution_id=execution_id, task="second", event=1)
    assert (early["inputs"]["basis"], early["inputs"]["rules"][0]["kind"]) == ("preview", "missing")
    refused = await api.get_refusal(f"{V1}rules.json", execution_id=execution_id, task="nobody")
    assert refused[0] == 404


async def test_texts_are_evaluated_as_of_any_event(greeting: Api) -> None:
    api = greeting
    execution_id = await greeted(api)
    question = {"kind": "path", "text": "$.context.greeting"}
    now = await api.post(f"{V1}evaluate.json", question, execution_id=execution_id)
    assert now["value"] == "Hello"
    then = await api.post(f"{V1}evaluate.json", question, execution_id=execution_id, event=1)
    assert (then["value"], "does not exist" in then["reason"]) == (None, True)
    mapped = await api.post(
        f"{V1}evaluate.json",
        {**question, "kind": "mappings", "text": "- {source: $.context.name, target: $.input.a}"},
        execution_id=execution_id,
    )
    assert mapped["input"] == {"a": "Bob"}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"kind": "code"}, 400),
        ({"text": None}, 400),
        ({"text": "x" * 70_000}, 400),
        ({"kind": "mappings", "text": "- ["}, 400),
    ],
)
async def test_a_malformed_question_is_refused(api: Api, change: Any, status: int) -> None:
    execution_id = await api.submit(await api.add(SUSPENDED))
    question = {"kind": "path", "text": "$.context"}
    path = f"{V1}evaluate.json"
    refused = await api.refusal(path, {**question, **change}, execution_id=execution_id)
    assert refused[0] == status
    for unknown in (UNKNOWN, "<script>"):
        assert (await api.refusal(path, question, execution_id=unknown))[0] == 404
    assert (await api.refusal(path, question, execution_id=execution_id, event=99))[0] == 404
