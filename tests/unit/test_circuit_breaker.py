"""A host or function that fails again and again is left alone for a while; no call fails by it.

Calls are held back, one goes out as a probe after each pause, and its success lets all go.
"""

import asyncio
from pathlib import Path

import pytest

from rillflow.gateways.limits import circuit_breaker as circuits
from rillflow.gateways.limits.circuit_breaker import Circuits
from rillflow.gateways.outbound.settings import BreakerPolicy, HttpSettings
from rillflow.gateways.registry import GatewayRegistry
from tests.loopback import (
    FAILS,
    StoppedClock,
    answering,
    attempt,
    closed_port,
    gateway,
    raw_server,
)
from tests.simulation.calls import BROKEN, HOST, UNREACHED, Calls, lively

QUICK = BreakerPolicy(failures=3, pause_s=1.0, longest_pause_s=8.0)
OTHER = f"{HOST}/other"
WORK = f"{HOST}/work"


def quick(**settings: object) -> Calls:
    return Calls(breaker=QUICK, **settings)


@pytest.mark.parametrize("status", [UNREACHED, BROKEN, 429, 500, 502, 503, 504])
def test_failures_in_a_row_hold_the_next_call_back_for_a_pause(status: int) -> None:
    calls = quick()

    async def scene() -> None:
        await calls.fail(3, status)
        await calls.call(name="next")

    calls.run(scene())
    assert calls.when("failing") == [0, 0, 0]
    assert calls.when("next") == [1.0]


@pytest.mark.parametrize("status", [200, 202, 302, 400, 401, 404, 410])
def test_whatever_else_is_answered_is_a_success_and_begins_the_count_anew(status: int) -> None:
    calls = quick()

    async def scene() -> None:
        for _ in range(5):
            await calls.fail(2)
            await calls.call(status)

    calls.run(scene())
    assert {at_s for _, at_s in calls.began} == {0}
    assert calls.left == []


def test_a_call_that_runs_out_of_its_time_is_a_failure_of_its_function() -> None:
    calls = quick()

    async def scene() -> None:
        for _ in range(3):
            late = calls.call(name="late", takes_s=9, timeout_s=0.5)
            assert isinstance((await asyncio.gather(late, return_exceptions=True))[0], TimeoutError)
        shown, host = calls.function(), calls.host()
        assert shown is not None
        assert (shown.state, shown.failures, shown.open_for_s) == ("open", 3, 1.0)
        assert host is not None
        assert host.host.failures == 0

    calls.run(scene())


def test_after_a_pause_one_call_goes_out_and_its_success_lets_the_others_go() -> None:
    calls = quick()

    async def scene() -> None:
        await calls.fail(3)
        held = [calls.start(name="held", takes_s=0.5) for _ in range(10)]
        await calls.pass_time(1.2)
        shown, host = calls.function(), calls.host()
        assert shown is not None
        assert host is not None
        assert (shown.state, host.held, host.under_way) == ("half-open", 9, 1)
        await asyncio.gather(*held)

    calls.run(scene())
    assert calls.when("held") == [1.0] + [1.5] * 9
    assert calls.left == []


def test_a_probe_that_fails_doubles_the_pause_up_to_the_longest() -> None:
    calls = quick()

    async def scene() -> None:
        await calls.fail(3)
        for _ in range(6):
            await calls.fail(1)

    calls.run(scene())
    assert calls.when("failing")[3:] == [1, 3, 7, 15, 23, 31]


def test_a_circuit_that_closed_begins_with_the_first_pause_again() -> None:
    calls = quick()

    async def scene() -> None:
        await calls.fail(5)
        await calls.call()
        await calls.fail(4)

    calls.run(scene())
    began = calls.when("failing")
    assert began[-1] - began[-2] == 1.0


def test_a_wish_for_rest_opens_at_once_and_no_longer_than_the_longest_pause() -> None:
    calls = quick()

    async def scene() -> None:
        await calls.call(503, headers={"retry-after": "5"})
        await calls.call(429, name="second", headers={"retry-after": "3600"})
        await calls.call(name="third")

    calls.run(scene())
    assert calls.when("second") == [5.0]
    assert calls.when("third") == [13.0]


def test_a_function_that_is_broken_holds_up_no_other_of_its_gateway() -> None:
    calls = quick()

    async def scene() -> None:
        await calls.fail(20)
        at_s = calls.loop.time()
        await calls.call(to=OTHER, name="other")
        assert calls.when("other") == [at_s]
        assert calls.function(OTHER) is None

    calls.run(scene())


def test_a_host_that_cannot_be_reached_is_left_alone_whatever_is_called_there() -> None:
    calls = quick()

    async def scene() -> None:
        for number in range(3):
            await calls.fail(1, UNREACHED, to=f"{HOST}/{number}")
        host = calls.host()
        assert host is not None
        assert (host.host.state, host.host.failures, host.functions) == ("open", 3, [])
        await calls.call(to=OTHER, name="other")
        assert lively(calls.turns.hosts()) == []

    calls.run(scene())
    assert calls.when("other") == [1.0]


def test_no_call_fails_by_the_breaker_it_goes_out_when_it_has_waited_for_long() -> None:
    calls = quick()

    async def scene() -> None:
        await calls.fail(8)
        begin_s = calls.loop.time()
        hanging = calls.start(name="probe", takes_s=1000)
        await calls.pass_time(8)
        held = [
            calls.start(name="held", takes_s=0.1),
            calls.start(name="own", timeout_s=3.0, takes_s=0.1),
        ]
        await asyncio.gather(*held)
        assert calls.when("own") == [begin_s + 8 + 1.5], "half of its task's time"
        hanging.cancel()

    calls.run(scene())
    assert calls.when("held") == [calls.when("own")[0] + 0.1], "it closed the circuit"


def test_a_probe_that_comes_to_nothing_hands_over_to_the_next() -> None:
    calls = quick()

    async def scene() -> None:
        await calls.fail(3)
        probe = calls.start(name="probe", takes_s=100)
        await calls.pass_time(0.1)
        held = calls.start(name="held")
        await calls.pass_time(1.4)
        probe.cancel()
        await held

    calls.run(scene())
    assert (calls.when("probe"), calls.when("held")) == ([1.0], [1.5])


def test_calls_that_wait_for_a_slot_are_held_too_and_keep_no_slot_meanwhile() -> None:
    calls = quick(limit_per_host=1)

    async def scene() -> None:
        failing = [calls.start(500, name="failing", takes_s=0.1) for _ in range(3)]
        await calls.pass_time(0.01)
        waiting = calls.start(name="waiting")
        await asyncio.gather(*failing)
        await calls.call(to=OTHER, name="other")
        await waiting

    calls.run(scene())
    assert calls.when("other") == [0.3]
    assert calls.when("waiting") == [1.3]


def test_calls_that_were_under_way_when_a_circuit_opened_do_not_make_its_pause_longer() -> None:
    calls = quick()

    async def scene() -> None:
        await asyncio.gather(*(calls.call(500, takes_s=0.01 * n) for n in range(50)))
        shown = calls.function()
        assert shown is not None
        assert (shown.failures, shown.state) == (50, "open")
        await calls.call(name="next")

    calls.run(scene())
    assert calls.when("next") == [1.02]


def test_with_no_number_of_failures_nothing_is_ever_held() -> None:
    calls = Calls(breaker=BreakerPolicy(failures=0))

    async def scene() -> None:
        await calls.fail(100, UNREACHED)
        await calls.call(429, headers={"retry-after": "60"})
        await calls.call()

    calls.run(scene())
    assert {at_s for _, at_s in calls.began} == {0}


def test_how_many_troubles_are_remembered_is_bounded() -> None:
    calls = Calls()
    known = Circuits(QUICK)

    async def scene() -> None:
        for number in range(circuits.MOST_KNOWN + 10):
            known.failed(f"{HOST}/{number}")

    calls.run(scene())
    assert len(known) == circuits.MOST_KNOWN
    assert known.find(f"{HOST}/0") is None


def test_what_is_shown_of_a_host_has_no_password() -> None:
    calls = quick()
    url = "http://bob:secret@functions.test/work?key=secret"

    async def scene() -> None:
        await calls.fail(3, to=url)
        assert "secret" not in repr(calls.turns.hosts())
        assert calls.host() is not None
        assert calls.function() is not None

    calls.run(scene())


async def test_a_port_that_nobody_serves_opens_the_circuit_of_its_host() -> None:
    policy = BreakerPolicy(failures=2, pause_s=30.0, longest_pause_s=30.0)
    url = f"http://127.0.0.1:{closed_port()}/work"
    async with gateway(breaker=policy, call_timeout_s=30.0) as opened:
        for number in range(2):
            answer = await opened.call(attempt(url, attempt=number))
            assert "cannot connect" in (answer.error or "")
        [shown] = opened.hosts()
        assert shown.host.state == "open"
        held = asyncio.create_task(opened.call(attempt(url, attempt=3)))
        await asyncio.sleep(0)
        assert opened.hosts()[0].held == 1
        await opened.close()
        assert (await held).error == f"{FAILS}the gateway is closed"
        assert lively(opened.hosts()) == []


async def test_what_is_shown_of_a_function_hides_secrets(tmp_path: Path) -> None:
    (tmp_path / "KEY").write_text("hunter22", encoding="utf-8")
    answer = b"HTTP/1.1 503 Not Now\r\nContent-Length: 0\r\n\r\n"
    settings = HttpSettings(secrets_dir=tmp_path, breaker=QUICK)
    registry = GatewayRegistry.with_http(settings, StoppedClock(), discover=False)
    async with raw_server(answering(answer)) as server:
        url = f"http://127.0.0.1:{server.port}/${{secret:KEY}}/work"
        await registry.call(attempt(url, secrets=((),)))
        [shown] = registry.hosts()
        await registry.close()
    assert [each.name for each in shown.functions] == [url]
