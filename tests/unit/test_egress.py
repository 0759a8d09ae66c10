"""Calls reach only the addresses that the egress policy allows, by name and by redirect too."""

import pytest

from rillflow.errors import GatewayError
from rillflow.gateways.egress import EgressRules
from tests.loopback import (
    call,
    echo,
    moved,
    web_server,
)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "100.100.100.200",
    ],
)
async def test_metadata_addresses_are_not_called(host: str) -> None:
    answer = await call(f"http://{host}/latest/meta-data")
    assert answer.error is not None
    assert answer.error.startswith("egress to ")
    assert answer.error.endswith(" is not allowed")


async def test_a_name_is_checked_by_what_it_resolves_to() -> None:
    rules = EgressRules(deny_networks=("127.0.0.0/8", "::1/128"))
    async with web_server(echo=echo) as url:
        port = url.rpartition(":")[2]
        answer = await call(f"http://localhost:{port}/echo", {"egress": rules})
    assert answer.error is not None
    assert answer.error.startswith("egress to localhost (")


async def test_a_redirect_does_not_lead_around_the_policy() -> None:
    async with web_server(f=moved(307, "http://169.254.169.254/latest")) as url:
        answer = await call(f"{url}/f")
    assert answer.error == "egress to 169.254.169.254 (169.254.169.254) is not allowed"


@pytest.mark.parametrize("host", ["2852039166", "169.254.43518"])
async def test_other_spellings_of_an_address_do_not_lead_around_the_policy(host: str) -> None:
    answer = await call(f"http://{host}/latest")
    assert answer.error is not None


def test_allow_lists_let_nothing_else_through() -> None:
    rules = EgressRules(allow_hosts=(".example.org", "gw"), allow_networks=("10.0.0.0/8",))
    allowed = [("gw", "192.0.2.1"), ("a.example.org", "192.0.2.1"), ("x", "10.1.2.3")]
    for host, ip in allowed:
        rules.check(host, ip)
    for host, ip in [("example.org.evil", "192.0.2.1"), ("x", "192.0.2.1")]:
        with pytest.raises(GatewayError, match="is not allowed"):
            rules.check(host, ip)
