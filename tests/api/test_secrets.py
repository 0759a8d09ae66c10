"""A function gets the secret that its definition names; the store, answers and logs do not."""

import logging
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow.runtime.process.log_lines import LineFormatter
from rillflow.stores import open_store
from rillflow.testing import FunctionRequest
from tests.api.definition_texts import calling
from tests.api.serving import served

TOKEN: Final = "t0p-s3cr3t-value"
TEXT: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: A
    category: function
    pattern: %s
    resourceName: ${GW}/%s/work?key=${secret:TOKEN}
    inputMappings:
      - { source: 'Bearer ${secret:TOKEN}', target: $.input.header.Authorization }
      - { source: '${secret:TOKEN}', target: $.input.token }
      - { source: $.context.said, target: $.input.said }
    outputMappings:
      - { source: $.output.heard, target: $.context.heard }
"""
SYNC: Final = TEXT % ("task_sync", "function")
ASYNC: Final = TEXT % ("task_async", "async-function")


class Work:
    """A function that repeats all it was sent."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.requests: list[FunctionRequest] = []

    def __call__(self, request: FunctionRequest) -> tuple[int, dict[str, Any], dict[str, str]]:
        self.requests.append(request)
        heard = [request.headers["Authorization"], request.json()]
        facts = {"error_msg": f"no {heard}", "error_code": heard[0], "invoke_id": heard[0]}
        return self.status, {"heard": heard, **facts}, {}


def _contents_of(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir()]


@pytest.mark.parametrize("text", [SYNC, ASYNC], ids=["sync", "async"])
@pytest.mark.parametrize("status", [200, 500])
async def test_only_the_function_ever_sees_the_secret(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    text: str,
    status: int,
) -> None:
    monkeypatch.setenv("RILLFLOW_SECRET_TOKEN", TOKEN)
    work = Work(status)
    store = open_store(f"sqlite:///{tmp_path}/rillflow.db")
    with caplog.at_level(logging.DEBUG):
        async with served({"work": work}, store=store) as api:
            execution_id = await api.submit(await api.add(text), {"said": "${secret:TOKEN}"})
            shown = await api.ended(execution_id)
            answers = [shown]
            answers += [
                await api.get(path, execution_id=execution_id, id=execution_id)
                for path in ("/flow/get_context.json", "/flow/bg/get_execution.json")
            ]
    [request] = work.requests
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert request.json()["token"] == TOKEN
    assert request.json()["said"] == "${secret:TOKEN}", "what was submitted is only a text"
    assert shown["dag_status"] == ("SUCCEED" if status == 200 else "FAILED")
    assert "${secret:TOKEN}" in str(shown["tasks"]["A"]["invoke_msg"])
    assert TOKEN not in f"{answers}"
    lines = LineFormatter()
    assert all(TOKEN not in lines.format(record) for record in caplog.records)
    written = _contents_of(tmp_path)
    assert any(b"${secret:TOKEN}" in content for content in written)
    assert not any(TOKEN.encode() in content for content in written)


async def test_an_unknown_secret_fails_the_task_and_is_named(tmp_path: Path) -> None:
    work = Work()
    async with served({"work": work}, secrets_dir=tmp_path) as api:
        shown = await api.run(SYNC)
        assert shown["tasks"]["A"]["status"] == "FAILED"
        assert shown["tasks"]["A"]["invoke_msg"]["msg"] == (
            "the secret TOKEN is not known here: it is missing in the environment variable"
            " RILLFLOW_SECRET_TOKEN or the file TOKEN in secrets_dir"
        )
        assert work.requests == []


async def test_the_submitters_listener_gets_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILLFLOW_SECRET_TOKEN", TOKEN)
    work = Work()
    async with served({"work": work}) as api:
        text = SYNC.replace("category: function\n", "category: pass\n")
        callback = f"{api.gateway.url}/function/work"
        mappings = '[{"source": "${secret:TOKEN}", "target": "$.input.header.Authorization"}]'
        submitted = await api.submit(
            await api.add(text),
            callback=f'{{"resourceName": "{callback}", "inputMappings": {mappings}}}',
        )
        await api.ended(submitted)
        while not work.requests:
            await api.shown(submitted)
        assert TOKEN not in f"{work.requests[0].headers} {work.requests[0].json()}"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("", "the answer of the function is empty, and a result is JSON"),
        ("<p>hello</p>", "the answer of the function is not JSON: <p>hello</p>"),
        ("x" * 2000, f"the answer of the function is not JSON: {'x' * 512}"),
    ],
)
async def test_a_function_that_does_not_answer_json_is_said_so(answer: str, message: str) -> None:
    async with served({"work": lambda _: (200, answer, {})}) as api:
        text = SYNC.replace("?key=${secret:TOKEN}", "").replace("${secret:TOKEN}", "none")
        shown = await api.run(text)
        assert shown["tasks"]["A"]["status"] == "FAILED"
        assert shown["tasks"]["A"]["invoke_msg"]["msg"] == message
        assert shown["dag_invoke_msg"]["msg"] == message


# -- names that say "secret" -----------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "is_masked"),
    [
        ("password", True),
        ("DB_PASSWORD", True),
        ("Authorization", True),
        ("X-Api-Key", True),
        ("apiKey", True),
        ("accessToken", True),
        ("client.secret", True),
        ("max_tokens", False),
        ("tokenizer", False),
        ("secretary", False),
        ("name", False),
    ],
)
async def test_inputs_that_are_named_like_secrets_are_masked_and_contexts_are_not(
    name: str, *, is_masked: bool
) -> None:
    async with served({"work": lambda _: {}}) as api:
        value = {"deep": [{name: {"value": TOKEN}}]}
        execution_id = await api.submit(await api.add(calling("work")), {"a": value})
        shown = await api.ended(execution_id)
        console = (await api.get("/flow/bg/get_execution.json", id=execution_id))["data"]
        masked = "***" if is_masked else {"value": TOKEN}
        for seen in (console, shown):
            assert seen["tasks"]["A"]["invoke_msg"]["input"] == {"a": {"deep": [{name: masked}]}}
            assert seen["context"]["a"] == value
