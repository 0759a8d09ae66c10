"""`serve status` is told of an address for callbacks once, and told again when that changes."""

import asyncio
from collections.abc import Sequence
from typing import Final

import pytest

from rillflow.actors.monitoring.callback_address import (
    AGAIN_S,
    KUBERNETES,
    CallbackAddress,
    name_of_application,
    sentence_of,
    silent_address,
)
from rillflow.actors.monitoring.reports import ObservedActor
from rillflow.errors import StackError
from rillflow.ports.cluster import ActorDescription, ActorReport
from rillflow.runtime.supervision.convergence import EXECUTION, Running

OWNERS: Final = ("a", "b")
URL: Final = "http://10.9.9.9:1"
OTHER: Final = "http://10.9.9.9:2"


def seen(**told: str | None) -> list[ObservedActor]:
    """Return actors that tell an address, that theirs has answered (``""``), or neither (None)."""
    return [_actor(name, address) for name, address in told.items()]


def _actor(name: str, address: str | None) -> ObservedActor:
    report = ActorReport(name=name, node="n", pid=1, life="l", is_ready=True)
    told = ActorDescription(report=report, unreachable=address or "", is_reached=address == "")
    return ObservedActor(Running(name, EXECUTION, None), None, report, told)


@pytest.mark.parametrize(
    ("actors", "address"),
    [
        (seen(a="", b=""), ""),
        (seen(a=URL, b=URL), URL),
        (seen(a=None, b=URL), URL),
        (seen(a="", b=None), None),
        (seen(a=""), None),
        ([], None),
        (seen(a="", b="", c=None), ""),
        ([*seen(a=""), ObservedActor(Running("b", EXECUTION, None), None, None)], None),
    ],
)
def test_it_is_silent_once_an_actor_says_so_and_answers_once_all_do(
    actors: Sequence[ObservedActor], address: str | None
) -> None:
    assert silent_address(actors, OWNERS) == address


class Watched:
    """What is shown, as Serve is asked for it, by a clock that the test moves."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.now_s = 0.0
        self.error: Exception | None = None
        self.address = CallbackAddress("rillflow", self._show, lambda: self.now_s)

    def _show(self, name: str, sentence: str) -> None:
        self.asked.append((name, sentence))
        if self.error is not None:
            raise self.error

    async def look(self, **told: str | None) -> list[str]:
        """Look once; return the sentences that were shown."""
        before = len(self.asked)
        self.address.look(seen(**told), OWNERS)
        if self.address._showing is not None:
            await self.address._showing
        return [sentence for _, sentence in self.asked[before:]]


async def test_what_is_shown_already_is_not_shown_again_and_what_is_gone_goes() -> None:
    watched = Watched()
    assert await watched.look(a=None, b=None) == []
    assert await watched.look(a=URL, b=None) == [sentence_of(URL)]
    for _ in range(3):
        assert await watched.look(a=URL, b=URL) == []
    assert await watched.look(a=URL, b="") == []
    assert await watched.look(a="", b="") == [""]
    watched.now_s += 10 * AGAIN_S
    assert await watched.look(a="", b="") == []
    assert {name for name, _ in watched.asked} == {name_of_application("rillflow")}


async def test_an_actor_that_starts_again_takes_nothing_away() -> None:
    watched = Watched()
    await watched.look(a=URL, b=URL)
    assert await watched.look(a=None, b=None) == []
    assert await watched.look(a=URL) == []
    assert await watched.look(a=URL, b=URL) == []
    assert await watched.look(a=OTHER, b=OTHER) == [sentence_of(OTHER)]


async def test_what_a_controller_before_this_one_has_shown_is_taken_away_once() -> None:
    watched = Watched()
    assert await watched.look(a="", b="") == [""]
    assert await watched.look(a="", b="") == []


async def test_serve_that_was_started_anew_is_told_again() -> None:
    watched = Watched()
    await watched.look(a=URL, b=URL)
    watched.now_s += AGAIN_S - 1
    assert await watched.look(a=URL, b=URL) == []
    watched.now_s += 1
    assert await watched.look(a=URL, b=URL) == [sentence_of(URL)]


async def test_serve_that_does_not_answer_is_asked_again_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watched = Watched()
    for address in (URL, ""):
        watched.error = StackError("Serve is away")
        assert await watched.look(a=address, b=address) == [sentence_of(address)]
        assert await watched.look(a=address, b=address) == []
        watched.error = None
        watched.now_s += AGAIN_S
        assert await watched.look(a=address, b=address) == [sentence_of(address)]
    assert [each.getMessage() for each in caplog.records].count("serve_status_not_told") == 2


async def test_while_serve_is_asked_nobody_waits_and_nothing_else_is_asked() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    asked: list[str] = []

    def show(_: str, sentence: str) -> None:
        asked.append(sentence)
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(60)

    address = CallbackAddress("rillflow", show, lambda: 0.0)
    address.look(seen(a=URL, b=URL), OWNERS)
    await begun.wait()
    address.look(seen(a="", b=""), OWNERS)
    assert asked == [sentence_of(URL)]
    go_on.set()
    assert address._showing is not None
    await address._showing
    address.look(seen(a="", b=""), OWNERS)
    await address._showing
    assert asked == [sentence_of(URL), ""]


async def test_on_kubernetes_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KUBERNETES, "10.0.0.1")
    watched = Watched()
    assert await watched.look(a=URL, b=URL) == []
