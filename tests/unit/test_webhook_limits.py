"""Requests to webhooks are limited by address and by webhook; room that was taken is given back."""

from contextlib import ExitStack
from typing import Any

import pytest

from rillflow.errors import OverloadedError
from serve.limits.webhook_limits import (
    BURST_OF_ADDRESS,
    BURST_OF_WEBHOOK,
    COST_OF_FAILURE,
    MOST_AT_WORK_BYTES,
    MOST_BODIES_OF_ADDRESS,
    MOST_BODIES_OF_WEBHOOK,
    MOST_KNOWN,
    PER_ADDRESS_S,
    Rates,
    WebhookLimits,
)
from serve.limits.work_room import SMALL_BYTES
from tests.loopback import StoppedClock


def of(address: str) -> dict[str, Any]:
    return {"type": "http", "client": (address, 1), "headers": []}


def test_a_rate_has_a_burst_and_is_never_overdrawn_by_more_than_one() -> None:
    clock = StoppedClock()
    rates = Rates(10, 100, clock)
    rates.count("a", 100)
    assert rates.wait_s("a") == pytest.approx(0.1)
    assert rates.wait_s("b") == 0
    rates.count("a", 10**9)
    assert rates.wait_s("a") == pytest.approx(10.1)


def test_an_address_that_fails_is_told_to_come_later_and_this_machine_is_not() -> None:
    limits = WebhookLimits(StoppedClock())
    for _ in range(BURST_OF_ADDRESS // COST_OF_FAILURE):
        for address in ("203.0.113.7", "2001:db8::1", "127.0.0.1"):
            limits.arrived(of(address))
            limits.failed(of(address))
    for address in ("203.0.113.7", "2001:db8::2"):
        with pytest.raises(OverloadedError, match="too many requests of this address") as refused:
            limits.arrived(of(address))
        assert f"{PER_ADDRESS_S} a second" in refused.value.hint
    for address in ("203.0.113.8", "2001:db8:1::1", "127.0.0.1", "::1"):
        limits.arrived(of(address))


def test_a_webhook_has_its_own_rate() -> None:
    limits = WebhookLimits(StoppedClock())
    for _ in range(BURST_OF_WEBHOOK):
        limits.signed("a")
    with pytest.raises(OverloadedError, match="too many requests to this webhook"):
        limits.signed("a")
    limits.signed("b")


def test_places_and_room_are_given_back_whatever_happens() -> None:
    limits = WebhookLimits(StoppedClock())
    for _ in range(2 * MOST_BODIES_OF_WEBHOOK):
        with pytest.raises(ValueError, match="gone"), limits.body_of("a", of("127.0.0.1")):
            raise ValueError("gone")
    large = SMALL_BYTES + 1
    with limits.work_on("a", MOST_AT_WORK_BYTES + 1):  # one always may
        with pytest.raises(OverloadedError) as refused, limits.work_on("b", large):
            pass
        assert refused.value.http_status == 503
        with limits.work_on("a", SMALL_BYTES), limits.work_on("b", SMALL_BYTES):
            pass
    with limits.work_on("a", large), limits.work_on("b", MOST_AT_WORK_BYTES - large):
        pass


def test_one_address_leaves_places_for_the_bodies_of_others() -> None:
    limits = WebhookLimits(StoppedClock())
    with ExitStack() as held:
        for _ in range(MOST_BODIES_OF_ADDRESS):
            held.enter_context(limits.body_of("a", of("203.0.113.7")))
        with pytest.raises(OverloadedError), limits.body_of("a", of("203.0.113.7")):
            pass
        for taken in ("203.0.113.8", "127.0.0.1"):
            with limits.body_of("a", of(taken)), limits.body_of("b", of("203.0.113.7")):
                pass
        for _ in range(MOST_BODIES_OF_WEBHOOK - MOST_BODIES_OF_ADDRESS):
            held.enter_context(limits.body_of("a", of("127.0.0.1")))
        small = of("203.0.113.9") | {"headers": [(b"content-length", b"%d" % SMALL_BYTES)]}
        with limits.body_of("a", small):
            pass
        with pytest.raises(OverloadedError), limits.body_of("a", of("203.0.113.8")):
            pass
    assert not limits._bodies


def test_one_workspace_leaves_half_of_the_room_to_others() -> None:
    limits = WebhookLimits(StoppedClock())
    half = MOST_AT_WORK_BYTES // 2
    with limits.work_on("a", half):
        with pytest.raises(OverloadedError), limits.work_on("a", SMALL_BYTES + 1):
            pass
        with limits.work_on("b", half):
            pass
    with limits.work_on("a", half), limits.work_on("b", half):
        pass


def test_no_more_addresses_are_remembered_than_there_is_room_for() -> None:
    rates = Rates(10, 100, StoppedClock())
    for number in range(MOST_KNOWN + 100):
        rates.count(str(number))
    assert len(rates) == MOST_KNOWN
