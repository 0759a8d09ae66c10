"""How many bytes the body of a request may have: the table of routes, with the settings applied.

A body pool has the limits of its server, and ``forms/bodies.py`` asks for the one of a request
before it reads. Endpoints name no limit. This module must not know how a body is read.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from starlette.requests import Request

from rillflow.errors import TooLargeError
from rillflow.settings import Settings
from serve.route_table import ROUTES, Body


class BodyLimit(NamedTuple):
    """The limit of one body.

    Attributes:
        bytes: The limit.
        setting: The setting that it comes from; empty where it is fixed.
        too_large_status: HTTP status of the answer to a larger body.
    """

    bytes: int
    setting: str
    too_large_status: int

    def refusal(self) -> TooLargeError:
        """Return the refusal of a larger body."""
        setting, status = self.setting or None, self.too_large_status
        return TooLargeError.of_body(self.bytes, setting, http_status=status)


class _RouteLimits(NamedTuple):
    """The limits of one route: of all businesses, and of those that have their own."""

    limit: BodyLimit
    business_in: str
    by_business: dict[str, BodyLimit]

    def each(self) -> Iterable[BodyLimit]:
        return self.limit, *self.by_business.values()


class BodyLimits:
    """The limits of all routes of a server with these settings."""

    def __init__(self, settings: Settings) -> None:
        self._by_path = dict(_limits_of_routes(settings))
        self.largest_bytes = max(
            limit.bytes for limits in self._by_path.values() for limit in limits.each()
        )

    def of(self, request: Request) -> BodyLimit:
        """Return the limit of a request's body.

        Raises:
            RuntimeError: The table of routes says that this route reads no body.
        """
        path = request.scope["path"]
        limits = self._by_path.get(path)
        if limits is None:
            raise RuntimeError(f"{path} reads a body, which its row in serve.route_table denies")
        if not limits.by_business:
            return limits.limit
        business = request.query_params.get(limits.business_in, "").partition(":")[0].strip()
        return limits.by_business.get(business, limits.limit)


def _limits_of_routes(settings: Settings) -> Iterator[tuple[str, _RouteLimits]]:
    for route in ROUTES:
        body = route.body
        if body.setting:
            limit = _limit(getattr(settings, body.setting), body)
            own = getattr(settings, f"{body.setting}_by_business") if body.business_in else {}
            by_business = {business: _limit(most, body) for business, most in own.items()}
            yield route.path, _RouteLimits(limit, body.business_in, by_business)
        elif body.largest_bytes:
            yield route.path, _RouteLimits(_limit(body.largest_bytes, body), "", {})


def _limit(most_bytes: int, body: Body) -> BodyLimit:
    return BodyLimit(most_bytes, body.setting, body.too_large_status)
