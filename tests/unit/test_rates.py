"""No more calls to a host begin in a second than its rate allows; those that wait keep order."""

import asyncio
from itertools import pairwise

import pytest

from rillflow.gateways.limits.concurrency import Caller
from rillflow.gateways.limits.host_slots import MOST_RECENT, RECENT_S, HostSlots
from rillflow.gateways.limits.rates import Rates
from tests.loopback import FAILS, answering, attempt, gateway, raw_server
from tests.simulation.calls import HOST, Calls, lively

OTHER = "http://other.test"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CALLER = Caller("shop", "shop:order_c_1")


def test_calls_go_out_evenly_and_in_the_order_of_their_arrival() -> None:
    calls = Calls(rate_per_host=10.0)

    async def scene() -> None:
        started = []
        for number in range(4):
            started.append(calls.start(name=str(number)))
            await calls.pass_time(0.001)
        await asyncio.gather(*started)

    calls.run(scene())
    assert [name for name, _ in calls.began] == ["0", "1", "2", "3"]
    assert [at_s for _, at_s in calls.began] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_a_tenth_of_a_seconds_worth_may_go_out_at_once_and_no_more_after_a_rest() -> None:
    calls = Calls(rate_per_host=100.0)

    async def scene() -> None:
        for _ in range(2):
            await asyncio.gather(*(calls.call() for _ in range(30)))
            await calls.pass_time(60)

    calls.run(scene())
    first = [at_s for _, at_s in calls.began[:30]]
    assert first.count(0.0) == 10
    assert first[-1] == pytest.approx(0.2)
    at_s = calls.began[30][1]
    assert [later for _, later in calls.began].count(at_s) == 10


def test_a_slow_rate_takes_no_room_from_other_hosts() -> None:
    calls = Calls(rates_by_host={"functions.test": 0.5}, pool_size=1, limit_per_host=3)

    async def scene() -> None:
        slow = [calls.start() for _ in range(6)]
        await calls.pass_time(0.1)
        await calls.call(to=f"{OTHER}/work", name="other")
        await asyncio.gather(*slow)

    calls.run(scene())
    assert calls.when("other") == [0.1]


def test_nothing_gathers_behind_a_rate_while_a_host_is_slow() -> None:
    calls = Calls(rate_per_host=10.0, limit_per_host=1)

    async def scene() -> None:
        slow = calls.start(takes_s=60)
        waiting = [calls.start(name="later") for _ in range(20)]
        await asyncio.gather(slow, *waiting)

    calls.run(scene())
    began = calls.when("later")
    assert all(after - before > 0.09 for before, after in pairwise(began))


def test_calls_that_are_given_up_while_they_wait_leave_nothing_behind() -> None:
    calls = Calls(rate_per_host=1.0, limit_per_host=2)

    async def scene() -> None:
        await calls.call()
        given_up = [calls.start() for _ in range(5)]
        await calls.pass_time(0.01)
        for task in given_up:
            task.cancel()
        await calls.pass_time(10)
        assert lively(calls.turns.hosts()) == []
        await asyncio.gather(*(calls.call(name="next", takes_s=5) for _ in range(2)))

    calls.run(scene())
    first, second = calls.when("next")
    assert second - first == pytest.approx(1.0), "both slots are free"


def test_the_rate_of_a_host_is_shown_with_what_waits_for_it() -> None:
    calls = Calls(rate_per_host=0.5)

    async def scene() -> None:
        for _ in range(3):
            calls.start(takes_s=1)
        await calls.pass_time(0.5)
        shown = calls.host()
        assert shown is not None
        assert (shown.rate_per_s, shown.under_way, shown.waiting, shown.held) == (0.5, 1, 2, 0)

    calls.run(scene())


@pytest.mark.parametrize(
    ("origin", "rate"),
    [
        ("http://a.test", 1.0),
        ("https://a.test", 2.0),
        ("http://a.test:8080", 1.0),
        ("https://a.test:443", 2.0),
        ("http://user:word@a.test", 1.0),
        ("http://[::1]:9", 3.0),
        ("http://free.test", None),
        ("http://else.test", 9.0),
    ],
)
def test_which_rate_a_host_has_is_said_for_its_port_its_name_or_all(
    origin: str, rate: float | None
) -> None:
    rates = Rates(9.0, {"A.test": 1.0, "a.test:443": 2.0, "[::1]:9": 3.0, "free.test": None})
    found: list[float | None] = []

    async def scene() -> None:
        pace = rates.pace(origin)
        found.append(pace.per_s if pace else None)

    Calls().run(scene())
    assert found == [rate]


def test_paces_that_remember_nothing_are_forgotten() -> None:
    rates = Rates(10.0, {})

    async def scene() -> None:
        busy = rates.pace("http://busy.test")
        assert busy is not None
        for _ in range(5):
            busy.reserve(asyncio.get_running_loop().time())
        for number in range(3000):
            rates.pace(f"http://host{number}.test")
        assert rates.pace("http://busy.test") is busy

    Calls().run(scene())


async def test_a_call_whose_tasks_time_is_over_while_it_waits_is_never_made() -> None:
    async with (
        raw_server(answering(OK)) as server,
        gateway(rate_per_host=0.001) as opened,
    ):
        first = await opened.call(attempt(server.url))
        late = await opened.call(attempt(server.url, attempt=2, timeout_s=0.05))
    assert first.body == b"{}"
    assert late.error == "timeout"
    assert server.requests == 1


async def test_closing_ends_calls_that_wait_for_their_rate() -> None:
    async with raw_server(answering(OK)) as server, gateway(rate_per_host=0.001) as opened:
        await opened.call(attempt(server.url))
        waiting = asyncio.create_task(opened.call(attempt(server.url, attempt=2)))
        await asyncio.sleep(0)
        await opened.close()
        assert (await waiting).error == f"{FAILS}the gateway is closed"


def test_without_a_rate_nothing_is_looked_up() -> None:
    assert Rates(None, {}).pace(HOST) is None


def test_hosts_that_were_called_lately_are_shown_for_ten_minutes_and_only_so_many() -> None:
    calls = Calls()

    async def scene() -> None:
        for number in range(MOST_RECENT + 5):
            await calls.call(to=f"http://h{number}.test/work")
        await calls.pass_time(RECENT_S / 2)
        await calls.call(to=f"{HOST}/work")
        shown = calls.turns.hosts()
        assert len(shown) == MOST_RECENT
        assert calls.host("http://h5.test") is None
        oldest = calls.host("http://h6.test")
        assert oldest is not None
        assert (oldest.host.state, oldest.under_way, oldest.idle_s) == ("closed", 0, RECENT_S / 2)
        await calls.pass_time(RECENT_S / 2 + 1)
        assert [host.host.name for host in calls.turns.hosts()] == [HOST]
        await calls.pass_time(RECENT_S / 2)
        assert calls.turns.hosts() == []

    calls.run(scene())


async def test_a_host_that_is_called_again_is_not_idle() -> None:
    slots = HostSlots(per_host=1, total=1, rates=Rates(None, {}))
    await slots.acquire(HOST, CALLER)
    slots.release(HOST, CALLER)
    assert slots.usage()[HOST].idle_s is not None
    await slots.acquire(HOST, CALLER)
    assert slots.usage() == {HOST: (1, 0, None)}
