"""A Ray that keeps to loopback is addressed so that Ray does not look for it elsewhere."""

import pytest
from ray._private.services import canonicalize_bootstrap_address

from rillflow.client.ray_transport.addresses import reachable


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_loopback_is_spelled_so_that_ray_leaves_it_alone(host: str) -> None:
    address = reachable(f"{host}:6379")
    assert address == "LOCALHOST:6379"
    assert canonicalize_bootstrap_address(address) == address
    assert canonicalize_bootstrap_address(f"{host}:6379") != f"{host}:6379", "Ray has been mended"


@pytest.mark.parametrize("address", ["192.0.2.2:6379", "head:6379", "auto", "ray://head:10001"])
def test_other_addresses_stay_as_they_are(address: str) -> None:
    assert reachable(address) == address
