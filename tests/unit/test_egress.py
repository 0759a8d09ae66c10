"""Calls reach only the addresses that the egress policy allows, by name and by redirect too."""

from typing import Any

import pytest

from rillflow.actors.dispatcher_actor import http_settings
from rillflow.errors import GatewayError
from rillflow.gateways.outbound.egress import EgressRules
from rillflow.ports.gateway import DispatchAnswer
from rillflow.settings import Settings
from serve.deployment import listening_on, reached_at
from tests.loopback import (
    answering,
    attempt,
    call,
    echo,
    gateway,
    moved,
    raw_server,
    web_server,
)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[::a9fe:a9fe]",
        "169.254.170.2",
        "[fe80::1]",
        "100.100.100.200",
        "[64:ff9b:1:a9fe:a9:fe00::]",  # local NAT64 with a prefix of 48 bits
        "[64:ff9b:1:a9:fe:a9fe::]",  # 56
        "[64:ff9b:1::a9:fea9:fe00:0]",  # 64
        "[64:ff9b:1::a9fe:a9fe]",  # 96
        "[2001:0:1:2::5601:5601]",  # Teredo, the client's address inverted
        "[2001:0:a9fe:a9fe::1]",  # Teredo, the server's address
        "[2002:a9fe:a9fe::1]",
        "[::ffff:0:a9fe:a9fe]",
        "[2001:db8::5efe:a9fe:a9fe]",
        "[2001:db8::200:5efe:a9fe:a9fe]",
        "[fd00:c1::a9fe:a9fe]",  # Oracle Cloud
        "[fd00:42::42]",  # Scaleway
        "[2001:db8:64::a9fe:a9fe]",  # NAT64 with a prefix of the network's own
        "100.96.0.96",  # Volcano Engine
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


# -- as the settings have it -----------------------------------------------------------


async def answer_under(url: str, **rules: Any) -> str | None:
    """Call an address under these settings; return why it could not be called."""
    return (await call(url, {"egress": http_settings(Settings(**rules)).egress})).error


@pytest.mark.parametrize(
    ("host", "rules"),
    [
        ("127.0.0.1", {"egress_deny": "127.0.0.0/8"}),
        ("0.0.0.0", {"egress_deny": "127.0.0.0/8"}),
        ("[::ffff:127.0.0.1]", {"egress_deny": "127.0.0.1"}),
        ("[::ffff:0.0.0.0]", {"egress_deny": "127.0.0.1"}),
        ("[::]", {"egress_deny": "::1"}),
        ("localhost", {"egress_deny": "example.org, 127.0.0.0/8, ::1"}),
        ("localhost", {"egress_deny": "LOCALHOST"}),
        ("localhost", {"egress_deny": "localhost", "egress_allow": "127.0.0.0/8,localhost"}),
        ("127.0.0.1", {"egress_allow": "10.0.0.0/8"}),
        ("localhost", {"egress_allow": "*.localhost"}),
        ("localhost", {"egress_allow": "host"}),
        ("169.254.169.254", {"egress_allow": "169.254.169.254"}),
    ],
)
async def test_what_the_settings_deny_is_not_called(host: str, rules: dict[str, Any]) -> None:
    async with web_server(echo=echo) as url:
        error = await answer_under(f"http://{host}:{url.rpartition(':')[2]}/echo", **rules)
    assert error is not None
    assert error.startswith("egress to ")


@pytest.mark.parametrize(
    ("host", "rules"),
    [
        ("127.0.0.1", {}),
        ("127.0.0.1", {"egress_allow": "127.0.0.1"}),
        ("127.0.0.1", {"egress_allow": "10.0.0.0/8,127.0.0.0/8"}),
        ("localhost", {"egress_allow": "Localhost"}),
        ("127.0.0.1", {"egress_deny": "10.0.0.0/8,*.example.org"}),
    ],
)
async def test_what_the_settings_allow_is_called(host: str, rules: dict[str, Any]) -> None:
    async with web_server(echo=echo) as url:
        assert await answer_under(f"http://{host}:{url.rpartition(':')[2]}/echo", **rules) is None


OPEN: dict[str, Any] = {"host": "0.0.0.0"}
PUBLIC = "8.8.8.8"


@pytest.mark.parametrize(
    ("ip", "meaning"),
    [
        *((ip, ip) for ip in ("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1")),
        *((ip, ip) for ip in ("224.0.0.1", "::1", "fd00::1", "ff02::1")),
        *((ip, ip) for ip in ("fec0::1", "5f00::1", "3fff::1", "192.88.99.1")),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        *((ip, "10.0.0.1") for ip in ("::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::")),
    ],
)
def test_a_server_that_listens_beyond_this_machine_calls_no_private_address(
    ip: str, meaning: str
) -> None:
    rules = http_settings(Settings(**OPEN)).egress
    with pytest.raises(GatewayError, match="is not allowed") as caught:
        rules.check("host", ip)
    assert "egress_private" in caught.value.hint
    http_settings(Settings(**OPEN, egress_private=True)).egress.check("host", ip)
    http_settings(Settings(**OPEN, egress_allow=meaning)).egress.check("host", ip)
    http_settings(Settings(**OPEN, egress_allow="host")).egress.check("host", ip)
    http_settings(Settings()).egress.check("host", ip)
    with pytest.raises(GatewayError):
        http_settings(Settings(egress_private=False)).egress.check("host", ip)
    rules.check("host", PUBLIC)


@pytest.mark.parametrize(
    ("set_to", "host", "front", "private"),
    [
        (None, "127.0.0.1", "127.0.0.1", True),
        (None, "127.0.0.1", "0.0.0.0", False),
        (None, "0.0.0.0", "127.0.0.1", False),
        (True, "127.0.0.1", "0.0.0.0", True),
        (False, "127.0.0.1", "127.0.0.1", False),
    ],
)
def test_where_serve_listens_counts_too(
    *, set_to: bool | None, host: str, front: str, private: bool
) -> None:
    settings = listening_on(Settings(host=host, egress_private=set_to), front)
    assert settings.calls_private is private


@pytest.mark.parametrize(
    ("set_to", "front", "reached"),
    [
        (None, "127.0.0.1", "http://127.0.0.1:9000"),
        (None, "0.0.0.0", "http://10.0.0.7:9000"),
        (None, "::", "http://10.0.0.7:9000"),
        (None, "10.0.0.9", "http://10.0.0.9:9000"),
        (None, "fd00::1", "http://[fd00::1]:9000"),
        ("https://flows.example", "127.0.0.1", "https://flows.example"),
    ],
)
def test_functions_call_back_where_serve_listens_unless_an_address_is_set(
    set_to: str | None, front: str, reached: str
) -> None:
    settings = reached_at(Settings(server_host=set_to), front, 9000, "10.0.0.7")
    assert settings.callback_base_url == reached
    of_callbacks = Settings(server_host=set_to, callback_host="https://back.example")
    told = reached_at(of_callbacks, front, 9000, "10.0.0.7")
    assert told.callback_base_url == "https://back.example"


async def test_a_redirect_to_another_server_is_asked_about_again() -> None:
    async with web_server(echo=echo) as inner:
        port = inner.rpartition(":")[2]
        async with web_server(f=moved(307, f"http://127.0.0.2:{port}/echo")) as url:
            refused = await answer_under(f"{url}/f", egress_allow="127.0.0.0/8")
            assert "egress" not in (refused or "")
            error = await answer_under(f"{url}/f", egress_allow="127.0.0.1")
    assert error == "egress to 127.0.0.2 (127.0.0.2) is not allowed"


# -- addresses that answers give -------------------------------------------------------


class SecondIsPublic(EgressRules, frozen=True, kw_only=True):
    """Rules for which 127.0.0.2 is a public address; no other one is on this machine."""

    def after(self, ip: str) -> EgressRules:
        return super().after(PUBLIC if ip == "127.0.0.2" else ip)


KINDS = pytest.mark.parametrize("kind", ["own", "aiohttp"])


async def redirected_from(
    host: str, kind: str, *, to: str = "127.0.0.1", **rules: Any
) -> DispatchAnswer:
    """Call a function at a host of this machine that redirects to an address of it."""
    async with web_server(echo=echo) as inner:
        there = f"http://{to}:{inner.rpartition(':')[2]}/echo"
        async with raw_server(answering(REDIRECT % there.encode()), "0.0.0.0") as outer:
            url = f"http://{host}:{outer.port}/f"
            return await call(url, {"transport": kind, "egress": SecondIsPublic(**rules)})


REDIRECT = b"HTTP/1.1 307 R\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n"


@KINDS
async def test_a_redirect_from_a_public_address_does_not_lead_to_a_private_one(kind: str) -> None:
    answer = await redirected_from("127.0.0.2", kind)
    assert answer.error == "egress to 127.0.0.1 (127.0.0.1) is not allowed"
    assert "egress_allow" in (answer.hint or "")
    by_name = await redirected_from("127.0.0.2", kind, to="localhost")
    assert (by_name.error or "").startswith("egress to localhost (")


@KINDS
async def test_a_redirect_between_private_addresses_is_followed(kind: str) -> None:
    assert (await redirected_from("127.0.0.1", kind)).error is None


@KINDS
async def test_the_allow_list_names_private_addresses_for_redirects(kind: str) -> None:
    allowed = await redirected_from("127.0.0.2", kind, allow_networks=("127.0.0.0/8",))
    assert allowed.error is None


async def test_a_connection_of_a_call_is_not_used_for_a_redirect_from_elsewhere() -> None:
    async with web_server(echo=echo) as inner:
        there = f"{inner}/echo"
        async with (
            raw_server(answering(REDIRECT % there.encode()), "0.0.0.0") as outer,
            gateway(egress=SecondIsPublic()) as opened,
        ):
            assert (await opened.call(attempt(there))).error is None
            answer = await opened.call(attempt(f"http://127.0.0.2:{outer.port}/f", attempt=2))
    assert answer.error == "egress to 127.0.0.1 (127.0.0.1) is not allowed"


ACCEPTED = b"HTTP/1.1 202 A\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
async def test_a_result_is_asked_for_at_a_private_address_only_if_one_gave_it(host: str) -> None:
    async with web_server(echo=echo) as inner:
        there = f"{inner}/echo"
        async with (
            raw_server(answering(ACCEPTED % there.encode()), "0.0.0.0") as outer,
            gateway(egress=SecondIsPublic()) as opened,
        ):
            accepted = await opened.call(attempt(f"http://{host}:{outer.port}/f"))
            poll = attempt(there, pattern="poll", poll=1, is_public=accepted.polls_public)
            result = await opened.call(poll)
    assert accepted.poll_url == there
    refused = "egress to 127.0.0.1 (127.0.0.1) is not allowed"
    assert result.error == (refused if host == "127.0.0.2" else None)


@pytest.mark.parametrize("ip", [PUBLIC, "2606:4700::1111", ""])
def test_what_an_answer_of_a_public_or_unknown_address_names_is_public(ip: str) -> None:
    rules = EgressRules().after(ip)
    rules.check("host", PUBLIC)
    for private in ("127.0.0.1", "10.0.0.1", "::1", "fd00::1", "100.64.0.1", "::ffff:10.0.0.1"):
        EgressRules().check("host", private)
        with pytest.raises(GatewayError, match="is not allowed"):
            rules.check("host", private)


@pytest.mark.parametrize("ip", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:10.0.0.1", "fe80::1%2"])
def test_what_an_answer_of_a_private_address_names_is_judged_as_before(ip: str) -> None:
    EgressRules().after(ip).check("host", "127.0.0.1")


async def test_suffixes_cover_what_is_below_them() -> None:
    rules = http_settings(Settings(egress_deny="*.example.org")).egress
    rules.check("example.org", "192.0.2.1")
    with pytest.raises(GatewayError, match=r"a\.example\.org"):
        rules.check("a.example.org", "192.0.2.1")
