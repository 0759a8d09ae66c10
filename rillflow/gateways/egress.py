"""Which addresses outbound calls may reach.

The rule is asked for every address a name resolves to, for literal addresses,
and again on every redirect, so neither DNS nor a redirect leads around it.
"""

import ipaddress
from collections.abc import Iterable
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
    "192.0.0.192/32",  # Oracle Cloud
    "fd00:ec2::/32",  # AWS over IPv6
    "fd20:ce::254/128",  # Google Cloud over IPv6
)

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
_LOOPBACK_6: Final = ipaddress.IPv6Address("::1")


class EgressPolicy(Protocol):
    """Decides about one address; it is asked before the connection is opened."""

    def check(self, host: str, ip: str) -> None:
        """Allow by returning.

        Args:
            host: Name or literal address in the URL.
            ip: Address it stands for.

        Raises:
            GatewayError: The address may not be reached.
        """
        ...


class EgressRules(msgspec.Struct, frozen=True, kw_only=True):
    """Deny and allow lists; a denial wins, and an empty allow list allows the rest.

    Hosts are names (a leading dot covers the domain's sub-domains), networks are
    CIDR texts. Addresses of IPv4 inside IPv6 count as what they stand for.
    """

    deny_networks: tuple[str, ...] = METADATA_NETWORKS
    deny_hosts: tuple[str, ...] = ()
    allow_networks: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()

    def check(self, host: str, ip: str) -> None:
        """Refuse a host or address that the lists do not let through.

        Raises:
            GatewayError: Refused; the message names the host and address.
        """
        if not _allowed(self, host, ip):
            raise GatewayError(f"egress to {host} ({ip}) is not allowed")

    def allows(self, host: str, ip: str) -> bool:
        """Tell whether the lists let a host at an address through."""
        host, address = host.lower().rstrip("."), _plain_address(ip)
        if _names(self.deny_hosts, host) or _contains(self.deny_networks, address):
            return False
        if not self.allow_hosts and not self.allow_networks:
            return True
        return _names(self.allow_hosts, host) or _contains(self.allow_networks, address)


def egress_rules(*, allow: Iterable[str], deny: Iterable[str]) -> EgressRules:
    """Build rules from places: host names, ``*.suffix``, addresses and CIDRs.

    The addresses of cloud metadata are denied beside what is given.
    """
    allow_hosts, allow_networks = _sorted_out(allow)
    deny_hosts, deny_networks = _sorted_out(deny)
    return EgressRules(
        deny_networks=METADATA_NETWORKS + deny_networks,
        deny_hosts=deny_hosts,
        allow_networks=allow_networks,
        allow_hosts=allow_hosts,
    )


def _sorted_out(places: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tell names from networks."""
    hosts: list[str] = []
    networks: list[str] = []
    for place in places:
        try:
            networks.append(str(ipaddress.ip_network(place, strict=False)))
        except ValueError:
            hosts.append(place.removeprefix("*"))
    return tuple(hosts), tuple(networks)


@lru_cache(maxsize=4096)
def _allowed(rules: EgressRules, host: str, ip: str) -> bool:
    return rules.allows(host, ip)


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


def _plain_address(ip: str) -> _Address:
    """Return what an address stands for; the unspecified one connects to this machine."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = _embedded(address) or address
    if address.is_unspecified:
        return ipaddress.IPv4Address("127.0.0.1") if address.version == 4 else _LOOPBACK_6
    return address


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the address of IPv4 that is written into one of IPv6, None if none is."""
    if address.is_loopback or address.is_unspecified:
        return None
    if address in _NAT64 or address in _IPV4_COMPATIBLE:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
