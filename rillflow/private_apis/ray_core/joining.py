"""How a driver finds a running Ray and its token, where Ray has no public function.

Used by `client/ray_transport/driver.py`.
"""

import logging
from collections.abc import Iterator
from typing import Final

from ray._private import services
from ray._private.authentication import authentication_token_setup
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined] # Ray has no types

from rillflow.private_apis.assumption import Assumption, missing, other_parameters


def address_from_environment(address: str) -> str:
    """Return the address that Ray would find for ``auto``, or what was given.

    Raises:
        ConnectionError: Ray finds several, or none that it was told of.
    """
    return str(services.get_ray_address_from_environment(address, None) or address)


def has_token() -> bool:
    """Tell whether this process has a token for Ray, whether or not Ray would use it."""
    return bool(AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))


def use_token() -> None:
    """Have Ray use the machine's token for whatever address is joined next.

    Ray itself does so only for an address that it has found by itself.
    """
    logging.getLogger(authentication_token_setup.__name__).setLevel(logging.ERROR)
    authentication_token_setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _differences() -> Iterator[str]:
    yield from other_parameters(services.get_ray_address_from_environment, "addr", "temp_dir")
    yield from missing(AuthenticationTokenLoader, "instance", "has_token")
    enable = authentication_token_setup.maybe_enable_token_auth_if_token_available
    yield from other_parameters(enable, "warn_if_disabled")


RELIES_ON: Final = (
    Assumption(
        library="ray",
        relies_on="get_ray_address_from_environment, AuthenticationTokenLoader.has_token and"
        " maybe_enable_token_auth_if_token_available",
        seen_with="2.60.0",
        if_it_changes="loud: rillflow.connect() fails",
        differences=_differences,
    ),
)
