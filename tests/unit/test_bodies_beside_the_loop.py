"""Long bodies and answers are read beside the event loop, whichever route has them."""

import ast
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from starlette.types import Message

from rillflow.gateways.outbound.threads import SHORT_BYTES
from serve.limits.callers import Caller
from serve.middleware.foreign_ids import masking

OTHERS: Final = b"11111111-2222-3333-4444-555555555555"
ROUTES: Final = Path(__file__).parents[2] / "serve" / "routes"
DECODERS: Final = frozenset({"json_object", "question_of", "trial_of"})


def _in_the_loop(node: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls that a coroutine makes itself, not in a function that others may run."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from _in_the_loop(child)


def test_no_route_decodes_a_body_in_the_event_loop() -> None:
    found = [
        f"{path.relative_to(ROUTES)}:{call.lineno}"
        for path in ROUTES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.AsyncFunctionDef)
        for call in _in_the_loop(node)
        if isinstance(call.func, ast.Name) and call.func.id in DECODERS
    ]
    assert found == []


class Asked(frozenset[str]):
    """Workspaces of a key, which note in which thread they are compared."""

    threads: set[int]

    def __contains__(self, workspace: object) -> bool:
        self.threads.add(threading.get_ident())
        return super().__contains__(workspace)


@pytest.mark.parametrize("size", [0, SHORT_BYTES])
async def test_ids_of_others_are_hidden_in_a_long_answer_beside_the_loop(size: int) -> None:
    workspaces, sent = Asked({"shop"}), list[Message]()
    workspaces.threads = set()

    async def send(message: Message) -> None:
        sent.append(message)

    hiding = masking(Caller(key_id="a", workspaces=workspaces), "/flow/get.json", send)
    body = b'"bank:order_c_%s"' % OTHERS + b" " * size
    await hiding({"type": "http.response.body", "body": body})
    assert OTHERS not in sent[0]["body"]
    assert len(sent[0]["body"]) == len(body)
    assert (workspaces.threads == {threading.get_ident()}) == (not size)
