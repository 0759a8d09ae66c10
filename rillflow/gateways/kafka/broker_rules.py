"""Which addresses the client of one Kafka trigger may reach, and be sent its password.

Brokers name each other, so what holds for the addresses that the author of a trigger gives holds
for those that a broker gives as well; those of a public broker must not be private.

Used by `gateways/kafka/guarded_loop.py` and `gateways/kafka/source.py`.
"""

from collections.abc import Collection
from typing import Final

from rillflow.errors import GatewayError
from rillflow.gateways.http_client.resolver import GuardedResolver
from rillflow.gateways.outbound.egress import EgressPolicy
from rillflow.gateways.secrets.store import Secrets

MOST_FRAME_BYTES: Final = 6 << 20
"""The longest answer of a broker that is taken."""


class BrokerRules:
    """The rules of one client.

    Attributes:
        refusal: Why a connection was refused, or ended, last; empty if none was.
    """

    def __init__(
        self,
        *,
        egress: EgressPolicy,
        resolver: GuardedResolver,
        brokers: Collection[str],
        secrets: Secrets,
        secret: str | None,
    ) -> None:
        self._egress = egress
        self._after = egress
        self._resolver = resolver
        self._brokers = frozenset(each.replace("[", "").replace("]", "") for each in brokers)
        self._secrets = secrets
        self._secret = secret
        self.refusal = ""

    async def addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses at which a broker may be reached.

        Raises:
            ConnectionRefusedError: It may not be reached.
            OSError: Its name has no address.
        """
        place = f"{host}:{port}"
        try:
            found = await self._resolver.addresses(host)
            rules = self._egress if place in self._brokers else self._after
            for address in found:
                rules.check(host, address)
            if self._secret is not None:
                self._secrets.refuse_place(self._secret, place)
        except GatewayError as error:
            self.refusal = f"{error}: {error.hint}" if error.hint else str(error)
            raise ConnectionRefusedError(self.refusal) from error
        if place in self._brokers:
            for address in found:
                self._after = self._after.after(address)
        return found

    def refuse_frame(self, size: int) -> None:
        """Note that a broker has sent more than is taken."""
        self.refusal = (
            f"a broker sends {size} bytes at once, and up to {MOST_FRAME_BYTES} are taken"
        )
