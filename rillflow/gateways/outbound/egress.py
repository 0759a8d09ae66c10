"""The egress policy: which addresses outbound calls may reach.

Clients check every address to which a name resolves, literal addresses, and every redirect, so
neither DNS nor a redirect evades it.

Used by `actors/dispatcher_actor.py`, `gateways/http_client/resolver.py` and
`gateways/outbound/settings.py`.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, Protocol, TypeAlias

import msgspec

from rillflow.errors import GatewayError

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

METADATA_NETWORKS: Final = (
    "169.254.0.0/16",  # link-local: AWS, Google Cloud, Azure, OpenStack and others
    "fe80::/10",  # link-local over IPv6
    "168.63.129.16/32",  # Azure host agent
    "100.100.100.200/32",  # Alibaba Cloud
    "100.96.0.96/32",  # Volcano Engine
    "192.0.0.192/32",  # Oracle Cloud
    "fd00:ec2::/32",  # AWS over IPv6
    "fd00:c1::/32",  # Oracle Cloud over IPv6
    "fd00:42::/32",  # Scaleway over IPv6
    "fd20:ce::254/128",  # Google Cloud over IPv6
)

_IN_THE_LAST_BITS: Final = (
    ipaddress.IPv6Network("::/96"),  # IPv4-compatible
    ipaddress.IPv6Network("::ffff:0:0/96"),  # IPv4-mapped
    ipaddress.IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated
    ipaddress.IPv6Network("64:ff9b::/96"),  # NAT64
)
_LOCAL_NAT64: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
_LOCAL_NAT64_PREFIXES: Final = (48, 56, 64, 96)
_ISATAP: Final = frozenset({0x0000_5EFE, 0x0200_5EFE})
"""Bits 64 to 95 of the addresses of the intra-site tunnel (RFC 5214)."""
_LOOPBACK_6: Final = ipaddress.IPv6Address("::1")
_METADATA_BITS: Final = 0xA9FE_A9FE
"""169.254.169.254 as the last bits: so it looks behind a NAT64 prefix of a network's own."""
_NOT_PUBLIC: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.88.99.0/24",  # relays of 6to4 (RFC 7526)
        "3fff::/20",  # documentation (RFC 9637)
        "5f00::/16",  # segment routing (RFC 9602)
    )
)
"""Networks of special purpose that ``ipaddress`` of some versions of Python calls global."""
_ANSWER_HINT: Final = (
    "an answer from a public address must not lead to a loopback or private one:"
    " name the address in egress_allow if it may"
)
_PRIVATE_HINT: Final = (
    "loopback and private addresses are not called by a server that listens beyond this machine:"
    " set egress_private, or name the address in egress_allow"
)


class EgressPolicy(Protocol):
    """Decides about one address; it is called before the connection is opened."""

    def check(self, host: str, ip: str) -> None:
        """Allow the address by returning.

        Args:
            host: Name or literal address in the URL.
            ip: Address to which it resolves.

        Raises:
            GatewayError: The address may not be reached.
        """
        ...

    def check_name(self, name: str, called: str) -> None:
        """Allow the name of a ``Host`` header by returning.

        Args:
            name: Name or address that the header has, without a port.
            called: Host of the address that is called, which ``check`` judges.

        Raises:
            GatewayError: The name may not be called.
        """
        ...

    def after(self, ip: str) -> "EgressPolicy":
        """Return the policy for the addresses that an answer gives.

        Args:
            ip: Address that answered; empty if it is not known.
        """
        ...


class EgressRules(msgspec.Struct, frozen=True, kw_only=True):
    """Deny and allow lists; a denial wins, and an empty allow list allows the rest.

    Hosts are names (a leading dot covers the domain's sub-domains), networks are CIDR texts. IPv4
    addresses embedded in IPv6 are checked as the IPv4 addresses; if their meaning depends on the
    network, all possible ones are checked. Without ``private``, addresses that are not public are
    refused unless the allow list names them; ``private_hint`` says why.
    """

    deny_networks: tuple[str, ...] = METADATA_NETWORKS
    deny_hosts: tuple[str, ...] = ()
    allow_networks: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    private: bool = True
    private_hint: str = _PRIVATE_HINT

    def check(self, host: str, ip: str) -> None:
        """Refuse a host or address that the lists do not allow.

        Raises:
            GatewayError: Refused; the message names the host and address.
        """
        refusal = _refusal(self, host, ip)
        if refusal is not None:
            raise GatewayError(f"egress to {host} ({ip}) is not allowed", hint=refusal)

    def check_name(self, name: str, called: str) -> None:
        """Refuse a name in ``Host`` that may not be called; an address is judged as one.

        A server may lead to another one by that name. Where the allow list has the name that is
        called, it must have this one too; where it has the address, it has whatever is behind it.

        Raises:
            GatewayError: Refused; the message has the name.
        """
        if is_address(name):
            self.check(name, name)
            return
        plain, plain_called = name.lower().rstrip("."), called.lower().rstrip(".")
        is_allowed_by_name = _names(self.allow_hosts, plain_called)
        if _names(self.deny_hosts, plain) or (
            is_allowed_by_name and plain != plain_called and not _names(self.allow_hosts, plain)
        ):
            raise GatewayError(f"egress to {name}, which the header Host names, is not allowed")

    def after(self, ip: str) -> "EgressRules":
        """Return rules without private addresses if an answer comes from a public address.

        A function of elsewhere must not choose what is called on this machine or in its network.
        """
        if not self.private or (ip and not all(map(_is_public, _meanings(ip)))):
            return self
        return msgspec.structs.replace(self, private=False, private_hint=_ANSWER_HINT)

    def refusal(self, host: str, ip: str) -> str | None:
        """Return None if the lists allow a host at an address, else advice, if any."""
        host, meanings = host.lower().rstrip("."), tuple(_meanings(ip))
        written = ipaddress.ip_address(ip.partition("%")[0])
        if _names(self.deny_hosts, host):
            return ""
        if any(_contains(self.deny_networks, each) for each in (written, *meanings)):
            return ""
        if written.version == 6 and int(written) & 0xFFFFFFFF == _METADATA_BITS:
            return ""
        if _names(self.allow_hosts, host):
            return None
        if self.allow_hosts or self.allow_networks:
            allowed = all(_contains(self.allow_networks, each) for each in meanings)
            return None if allowed else ""
        return None if self.private or all(map(_is_public, meanings)) else self.private_hint


@lru_cache(maxsize=4096)
def is_address(host: str) -> bool:
    """Tell whether a host is a literal address."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def egress_rules(*, allow: Iterable[str], deny: Iterable[str], private: bool = True) -> EgressRules:
    """Build rules from entries: host names, ``*.suffix``, addresses and CIDRs.

    The metadata addresses of clouds are denied in addition.
    """
    allow_hosts, allow_networks = _sorted_out(allow)
    deny_hosts, deny_networks = _sorted_out(deny)
    return EgressRules(
        deny_networks=METADATA_NETWORKS + deny_networks,
        deny_hosts=deny_hosts,
        allow_networks=allow_networks,
        allow_hosts=allow_hosts,
        private=private,
    )


def _sorted_out(places: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Separate names from networks."""
    hosts: list[str] = []
    networks: list[str] = []
    for place in places:
        try:
            networks.append(str(ipaddress.ip_network(place, strict=False)))
        except ValueError:
            hosts.append(place.removeprefix("*"))
    return tuple(hosts), tuple(networks)


@lru_cache(maxsize=4096)
def _refusal(rules: EgressRules, host: str, ip: str) -> str | None:
    return rules.refusal(host, ip)


def _names(hosts: tuple[str, ...], host: str) -> bool:
    return any(
        host.endswith(known) if known.startswith(".") else host == known
        for known in map(str.lower, hosts)
    )


def _contains(networks: tuple[str, ...], address: _Address) -> bool:
    return any(address in network for network in _parsed(networks))


@lru_cache(maxsize=64)
def _parsed(networks: tuple[str, ...]) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(text, strict=False) for text in networks)


def _meanings(ip: str) -> Iterator[_Address]:
    """Generate the addresses that an address may stand for; the unspecified one is this machine."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    embedded = tuple(_embedded(address)) if isinstance(address, ipaddress.IPv6Address) else ()
    for each in embedded or (address,):
        if each.is_unspecified:
            yield ipaddress.IPv4Address("127.0.0.1") if each.version == 4 else _LOOPBACK_6
        else:
            yield each


def _embedded(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """Generate the IPv4 addresses that are, or may be, embedded in an IPv6 address."""
    bits = int(address)
    if address.is_loopback or address.is_unspecified:
        return
    if any(address in network for network in _IN_THE_LAST_BITS):
        yield ipaddress.IPv4Address(bits & 0xFFFFFFFF)
    elif address.sixtofour is not None:
        yield address.sixtofour
    elif address.teredo is not None:
        yield from address.teredo
    elif address in _LOCAL_NAT64:
        yield from (_after_prefix(bits, length) for length in _LOCAL_NAT64_PREFIXES)
    elif bits >> 32 & 0xFFFFFFFF in _ISATAP:
        yield ipaddress.IPv4Address(bits & 0xFFFFFFFF)


def _after_prefix(bits: int, length: int) -> ipaddress.IPv4Address:
    """Read an address behind a NAT64 prefix of 96 bits, or less: RFC 6052 skips bits 64 to 71."""
    if length == 96:
        return ipaddress.IPv4Address(bits & 0xFFFFFFFF)
    without_skipped = bits >> 64 << 56 | bits & 0xFF_FFFF_FFFF_FFFF
    return ipaddress.IPv4Address(without_skipped >> 88 - length & 0xFFFFFFFF)


def _is_public(address: _Address) -> bool:
    if not address.is_global or address.is_multicast:
        return False
    if address.version == 6 and address.is_site_local:
        return False
    return not any(address in network for network in _NOT_PUBLIC)
