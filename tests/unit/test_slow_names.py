"""Names whose name service does not answer hold up no others."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Final

import pytest

from rillflow.gateways.http_client.resolver import (
    ASKING_WORKSPACE,
    FRESH_S,
    THREADS,
    THREADS_OF_DOMAIN,
    GuardedResolver,
    Places,
    domain_of,
)
from rillflow.gateways.outbound.egress import EgressRules

PLACES: Final[Places] = [(2, 1, 6, "", ("127.0.0.1", 0))]
TIMEOUT_S: Final = 1.5
"""Long enough for a busy machine to answer what is answered at once."""


class Names:
    """A name service that answers some names at once, and the others when it is let."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let = threading.Event()

    def look_up(self, host: str) -> Places:
        self.asked.append(host)
        if "slow" in host:
            self.let.wait()
        return PLACES


@pytest.fixture(name="names")
def _names() -> Iterator[Names]:
    names = Names()
    yield names
    names.let.set()


def resolver_of(names: Names) -> GuardedResolver:
    return GuardedResolver(EgressRules(), timeout_s=TIMEOUT_S, look_up=names.look_up)


async def test_many_slow_names_leave_threads_to_others(names: Names) -> None:
    resolver = resolver_of(names)
    hosts = [f"a{number}.slow{number % 3}.example" for number in range(200)]
    slow = [asyncio.create_task(resolver.addresses(host)) for host in hosts]
    await asyncio.sleep(0)
    assert await resolver.addresses("well.example") == ["127.0.0.1"]
    failures = await asyncio.gather(*slow, return_exceptions=True)
    assert {type(each).__mro__[1] for each in failures} == {OSError}
    assert len(names.asked) == 3 * THREADS_OF_DOMAIN + 1
    assert await resolver.addresses("other.example") == ["127.0.0.1"]
    await resolver.close()


async def test_slow_names_of_a_workspace_leave_threads_to_others_whatever_their_domains(
    names: Names,
) -> None:
    """Eight domains with slow name servers took the threads of all."""
    resolver = resolver_of(names)

    async def asked(workspace: str, host: str) -> list[str]:
        ASKING_WORKSPACE.set(workspace)
        return await resolver.addresses(host)

    hosts = [f"a{number}.slow{number % 20}.example" for number in range(200)]
    slow = [asyncio.create_task(asked("one", f"x.{host}")) for host in hosts]
    await asyncio.sleep(0)
    well = asyncio.create_task(asked("other", "well.example"))
    assert await well == ["127.0.0.1"]
    await asyncio.gather(*slow, return_exceptions=True)
    assert len(names.asked) < THREADS
    await resolver.close()


async def test_a_name_that_is_slow_fails_at_once_until_it_is_found(names: Names) -> None:
    resolver = resolver_of(names)
    with pytest.raises(OSError, match=rf"look-up took longer than {TIMEOUT_S} s"):
        await resolver.addresses("a.slow.example")
    async with asyncio.timeout(TIMEOUT_S / 2):
        with pytest.raises(OSError, match=r"look-up took longer"):
            await resolver.addresses("a.slow.example")
    assert names.asked == ["a.slow.example"]
    [finding] = resolver._under_way.values()
    names.let.set()
    await finding
    assert await resolver.addresses("a.slow.example") == ["127.0.0.1"]
    assert names.asked == ["a.slow.example"]
    await resolver.close()


async def test_addresses_that_were_found_are_used_while_their_name_is_slow(names: Names) -> None:
    resolver = resolver_of(names)
    names.let.set()
    assert await resolver.addresses("a.slow.example") == ["127.0.0.1"]
    names.let.clear()
    until, addresses = resolver._known["a.slow.example"]
    resolver._known["a.slow.example"] = (until - FRESH_S, addresses)  # ten seconds later
    assert await resolver.addresses("a.slow.example") == ["127.0.0.1"]
    assert names.asked == ["a.slow.example"] * 2
    await resolver.close()


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("a.b.Example.com.", "example.com"),
        ("example.com", "example.com"),
        ("localhost", "localhost"),
        ("", ""),
    ],
)
def test_names_of_a_domain_end_in_the_same_two_labels(host: str, domain: str) -> None:
    assert domain_of(host) == domain
