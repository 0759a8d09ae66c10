"""Limits how often the console is signed in to: with one key, and from one address.

A session costs nothing to begin, but each that is ended is a row of the store. Who has the key of
the settings is not limited, and neither is this machine, whose reverse proxy stands for many.

Used by `serve/routes/console_pages.py`.
"""

from typing import Final

from starlette.types import Scope

from rillflow.errors import OverloadedError
from rillflow.ports.clock import Clock
from serve.limits.client_addresses import address_of, is_this_machine
from serve.limits.webhook_limits import Rates

PER_KEY_S: Final = 1
BURST_OF_KEY: Final = 60
PER_ADDRESS_S: Final = 10
BURST_OF_ADDRESS: Final = 600


class SessionLimits:
    """The limits of one replica."""

    def __init__(self, clock: Clock) -> None:
        self._keys = Rates(PER_KEY_S, BURST_OF_KEY, clock)
        self._addresses = Rates(PER_ADDRESS_S, BURST_OF_ADDRESS, clock)

    def count(self, scope: Scope, key_id: str) -> None:
        """Count a session that is begun with a key by name.

        Raises:
            OverloadedError: Too many were begun with the key, or from the address (429).
        """
        if not key_id:
            return
        address = "" if is_this_machine(scope) else address_of(scope)
        if self._keys.wait_s(key_id) or (address and self._addresses.wait_s(address)):
            raise OverloadedError(
                "too many sessions were begun with this key, or from this address",
                hint=f"{PER_KEY_S} a second with a key, and {PER_ADDRESS_S} from an address",
            )
        self._keys.count(key_id)
        if address:
            self._addresses.count(address)
