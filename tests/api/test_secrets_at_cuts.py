"""A secret that a cut falls into shows nothing of itself: texts are masked before they are cut.

Each way in which a text of a function is kept has a length; a secret is slid over it, and so are
many of them in a row, since a masked text is shorter than it was.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest

from rillflow.core.state import LONGEST_ERROR
from rillflow.core.tasks.function_tasks import SHOWN_CHARACTERS
from rillflow.gateways.callbacks.arrivals import MESSAGE_BYTES
from rillflow.gateways.http.responses import LONGEST_ERROR as LONGEST_DISPATCH_ERROR
from rillflow.testing import FunctionRequest
from tests.api.serving import Api, served

SECRET: Final = 20 * "QZXJKVQQXZJVKQZXVJQKZXJV"
"""Letters of which no other text here has any; many, so that masking shortens a text by far."""
SHORT_FACT: Final = 256
LINE: Final = len("dispatchTask http fails due to NNN Internal Server Error: ")
CUTS: Final = (
    SHORT_FACT,
    LONGEST_ERROR,
    SHOWN_CHARACTERS,
    LONGEST_DISPATCH_ERROR - LINE,
    MESSAGE_BYTES,
    16 * 1024,
)
TEXT: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: A
    category: foreach
    tolerance: true
    inputMappings: [{ source: $.context.texts, target: $.input.texts }]
    iterationMapping: { collection: $.input.texts, item: text }
    tasks:
      - name: B
        category: function
        pattern: %s
        tolerance: true
        resourceName: ${GW}/%s/work?key=${secret:TOKEN}
        inputMappings: [{ source: $.context.text, target: $.input.text }]
"""


def slid() -> Iterator[str]:
    """Yield texts with a secret at every place where a cut may fall into it."""
    for cut in CUTS:
        for start in range(max(cut - len(SECRET) + 2, 0), cut, 95):
            yield f"{'y' * start}{SECRET}{'y' * 20}"
    for before in range(0, len(SECRET), 95):
        yield f"{'y' * before}{SECRET * 40}"


TEXTS: Final = list(slid())


def shows_a_part(shown: Any) -> list[str]:
    """Return what is left of the secret in each message, code and fact."""
    texts = [shown.get("msg"), shown.get("hint"), shown.get("code"), str(shown.get("ext"))]
    texts += [time.get("error") for time in shown["invoke_time_infos"]]
    left = (re.search(r"[QZXJKV]{2,}", text or "") for text in texts)
    return [found.group() for found in left if found]


async def kept(api: Api, pattern: str, function: str) -> list[Any]:
    """Run the function once for each text, and return what is kept of each."""
    descriptor = await api.add(TEXT % (pattern, function))
    execution_id = await api.submit(descriptor, {"texts": TEXTS})
    await api.ended(execution_id)
    return [await invoke_of(api, execution_id, index) for index in range(len(TEXTS))]


async def invoke_of(api: Api, execution_id: str, index: int) -> Any:
    view = await api.get(
        "/flow/get_by_parent.json", execution_id=execution_id, parent="A", group_index=index
    )
    return view["ret"]["tasks"][f"A_{index}-B"]["invoke_msg"]


@pytest.mark.parametrize("way", ["text", "json", "refused", "code"])
async def test_no_part_of_a_secret_is_left_of_an_answer(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("RILLFLOW_SECRET_TOKEN", SECRET)

    def work(request: FunctionRequest) -> tuple[int, Any, dict[str, str]]:
        text = request.json()["text"]
        key = "error_code" if way == "code" else "error_msg"
        body = {"result_type": "FAILED", key: text} if way in ("json", "code") else text
        return (500 if way == "refused" else 200), body, {}

    async with served({"work": work}) as api:
        for invoke in await kept(api, "task_sync", "function"):
            assert invoke.get("msg") or invoke.get("code")
            assert shows_a_part(invoke) == []


@pytest.mark.parametrize("way", ["text", "json", "code"])
async def test_no_part_of_a_secret_is_left_of_a_callback(
    monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("RILLFLOW_SECRET_TOKEN", SECRET)

    def work(request: FunctionRequest) -> tuple[int, Any, dict[str, str]]:
        text = request.json()["text"]
        key = "error_code" if way == "code" else "error_msg"
        return 500, text if way == "text" else {key: text}, {}

    async with served({"work": work}) as api:
        for invoke in await kept(api, "task_async", "async-function"):
            assert invoke.get("msg") or invoke.get("code")
            assert shows_a_part(invoke) == []


@pytest.mark.parametrize("route", ["finish", "trigger"])
async def test_no_part_of_a_secret_is_left_of_what_is_sent_by_hand(
    monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    monkeypatch.setenv("RILLFLOW_SECRET_TOKEN", SECRET)
    async with served({"work": lambda _: {}}) as api:
        execution_id = await api.submit(
            await api.add(TEXT % ("task_async", "function")), {"texts": TEXTS}
        )
        for index, text in enumerate(TEXTS):
            await api.post(
                f"/flow/{route}.json",
                {"result_type": "FAILED", "error_msg": text},
                execution_id=execution_id,
                task_name=f"A_{index}-B",
            )
        await api.ended(execution_id)
        for index in range(len(TEXTS)):
            assert shows_a_part(await invoke_of(api, execution_id, index)) == []
