"""The body of a call is bounded by what is made of it: all fields of a form count together."""

import asyncio
import threading
import tracemalloc
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, quote_plus

import httpx
import pytest
from pydantic import Field

from rillflow.function_calls.arguments import TypedFunction
from rillflow.functions import Functions, Limits
from rillflow.functions.requests import BodyRoom, Head, read_body

WAIT_S: Final = 20
FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
MIB: Final = 1024 * 1024


def application(limits: Limits | None = None) -> Functions:
    app = Functions(limits=limits)

    @app.function
    def length(a: Any = None, b: Any = None) -> int:
        return len(a) + len(b or ())

    @app.function
    def echo(**fields: Any) -> dict[str, Any]:
        return fields

    return app


async def post(app: Functions, path: str, body: bytes, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        return await http.post(path, content=body, headers=FORM | headers)


def lists(count: int) -> bytes:
    return b"[" + b"[]," * count + b"[]]"


@pytest.mark.parametrize(
    "body",
    [
        b"&".join(b"a%d=%b" % (number, lists(2_000)) for number in range(100)),
        b"&".join(b"a%d=%b" % (number, b'{"x":[0,"' + b"1,2" * 2_000) for number in range(100))
        + b"&b="
        + lists(80_000),
        b"&".join(b"a%d=[%b]" % (number, b"1" * 5_000) for number in range(100)),
    ],
)
async def test_the_fields_of_a_form_have_one_budget(body: bytes) -> None:
    answer = await post(application(), "/echo", body)
    assert answer.status_code == 400, answer.text[:200]
    assert "the form cannot be handled" in answer.text
    one = body.partition(b"&")[0]
    assert (await post(application(), "/echo", one)).status_code == 200


async def test_six_large_forms_at_once_take_little_more_than_their_bodies() -> None:
    app = application()
    body = b"&".join(b"a%d=%b" % (number, lists(3_300)) for number in range(400))
    tracemalloc.start()
    try:
        answers = await asyncio.gather(*(post(app, "/length", body) for _ in range(6)))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {each.status_code for each in answers} == {422}
    assert peak_bytes < 12 * len(body)
    assert app._calls.room.held_bytes == 0


async def test_a_field_without_a_parameter_stays_text() -> None:
    body = b"a=" + lists(10) + b"&c=" + lists(100_000)
    answer = await post(application(), "/length", body)
    assert answer.status_code == 422
    assert "the input has c" in answer.json()["error_msg"]


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
async def test_a_form_is_read_as_the_standard_library_reads_it(size: int) -> None:
    text = "x" * size + "é+ %&=\0%4" * 40_000
    body = f"t={quote_plus(text)}&raw=%zz%e9%&t2=%41%4&=v&&blank&t2=last"
    answer = await post(application(), "/echo", body.encode())
    assert answer.json() == dict(parse_qsl(body, keep_blank_values=True))


async def test_what_is_made_of_a_body_is_held_too() -> None:
    app = application(Limits(held_bytes=4 * MIB))
    may_end, begun = threading.Event(), threading.Event()

    @app.function
    def waits(a: Any) -> int:
        begun.set()
        assert may_end.wait(WAIT_S)
        return len(a)

    body = b'{"a": ' + lists(30_000) + b"}"
    assert len(body) < MIB // 8
    json_type = {"Content-Type": "application/json"}
    first = asyncio.create_task(post(app, "/waits", body, **json_type))
    assert await asyncio.to_thread(begun.wait, WAIT_S)
    refused = await post(app, "/waits", body, **json_type)
    assert refused.status_code == 429, refused.text
    assert refused.headers["Retry-After"] == "5"
    may_end.set()
    assert (await first).json() == {"data": 30_001}
    assert app._calls.room.held_bytes == 0


def test_a_function_takes_the_fields_that_it_names_and_with_other_names_any() -> None:
    def named(a: int, *, b: "int" = 1) -> int:
        return a + b

    def renamed(a: Annotated[list[int], Field(alias="number")]) -> int:
        return len(a)

    def rest(a: int, **more: int) -> int:
        return a + len(more)

    taken = {
        function.__name__: [name for name in ("a", "b", "number") if typed.takes(name)]
        for function in (named, renamed, rest)
        for typed in [TypedFunction(function)]
    }
    assert taken == {
        "named": ["a", "b"],
        "renamed": ["a", "b", "number"],
        "rest": ["a", "b", "number"],
    }


class CountedPiece(bytes):
    """A piece of a body that counts how often somebody asks for its length."""

    asked = 0

    def __len__(self) -> int:
        CountedPiece.asked += 1
        return super().__len__()


async def test_a_body_in_pieces_of_a_byte_costs_by_its_pieces_and_not_by_their_square() -> None:
    pieces = 2_000
    left = iter(range(pieces - 1, -1, -1))

    async def receive() -> dict[str, Any]:
        more = next(left)
        return {"type": "http.request", "body": CountedPiece(b"x"), "more_body": more > 0}

    room = BodyRoom(MIB)
    head = Head("POST", "f", is_queued=False, query={}, headers={}, is_from_here=True)
    body = await read_body(head, receive, Limits(), room)
    assert (body, room.held_bytes) == (b"x" * pieces, pieces)
    assert CountedPiece.asked < 10 * pieces
