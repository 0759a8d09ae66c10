"""Query parameters of the routes that FastAPI answers: types with Rill Flow's bounds.

The routes name them. Hot routes read their parameters by `exchange.py`. It must not know what a
parameter is for.

Used by `serve/routes`, `serve/routes/console` and `serve/routes/console_api`.
"""

from collections.abc import Iterator
from typing import Annotated, Final, TypeAlias

from fastapi import Query
from pydantic import BeforeValidator
from pydantic_core import PydanticUseDefault

from rillflow.errors import RequestError
from rillflow.ids import DescriptorId, is_name
from rillflow.ports.storage.store import LATEST_MS
from serve.schemas.exchange import UNPROCESSABLE

MOST_SERVICES: Final = 100
"""How many services a request names."""
MOST_MINUTES: Final = 5_256_000
"""Ten years; larger offsets are refused."""


def _trimmed(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _given(value: object) -> object:
    """Trim a value; a form field that was cleared means the default, as in Rill Flow."""
    trimmed = _trimmed(value)
    if trimmed == "":
        raise PydanticUseDefault
    return trimmed


RequiredWhole: TypeAlias = Annotated[
    int, BeforeValidator(_trimmed), Query(ge=-(2**31), le=2**31 - 1)
]
Whole: TypeAlias = Annotated[int, BeforeValidator(_given), Query(ge=-(2**31), le=2**31 - 1)]
"""A parameter that has a default, as have the two that follow."""
RequiredLong: TypeAlias = Annotated[
    int, BeforeValidator(_trimmed), Query(ge=-(2**63), le=2**63 - 1)
]
Long: TypeAlias = Annotated[int, BeforeValidator(_given), Query(ge=-(2**63), le=2**63 - 1)]
"""Numbers of 64 bits, such as ids."""
Milliseconds: TypeAlias = Annotated[int, BeforeValidator(_given), Query(ge=0, le=LATEST_MS)]
Minutes: TypeAlias = Annotated[int, BeforeValidator(_given), Query(ge=0, le=MOST_MINUTES)]
Flag: TypeAlias = Annotated[bool, BeforeValidator(_trimmed), Query()]
OptionalFlag: TypeAlias = Annotated[bool, BeforeValidator(_given), Query()]
"""A flag that has a default, as has the text that follows."""
Word: TypeAlias = Annotated[str, BeforeValidator(_given)]
Names: TypeAlias = Annotated[list[str] | None, Query()]
Scope: TypeAlias = Annotated[
    str,
    BeforeValidator(_given),
    Query(description="`whole`, as in Rill Flow, or `failed`: keep what succeeded."),
]


def failed_only(scope: str) -> bool:
    """Tell whether a redo has the scope ``failed``.

    Raises:
        RequestError: There is no such scope (422).
    """
    if scope not in ("whole", "failed"):
        raise RequestError(f"scope must be whole or failed, not {scope}", http_status=UNPROCESSABLE)
    return scope == "failed"


def listed(texts: list[str] | None) -> tuple[str, ...]:
    """Return the names of a list parameter: repeated, or separated by commas; blanks dropped."""
    return tuple(_names(texts or ()))


def _names(texts: "list[str] | tuple[()]") -> Iterator[str]:
    for text in texts:
        yield from filter(None, (name.strip() for name in text.split(",")))


def services_of(texts: list[str] | None) -> dict[str, DescriptorId]:
    """Read the services of a list parameter, each once, by how they are named.

    Raises:
        RequestError: One is malformed, or there are too many (30109).
    """
    names = dict.fromkeys(listed(texts))
    if len(names) > MOST_SERVICES:
        hint = f"name up to {MOST_SERVICES}"
        raise RequestError(f"{len(names)} services are named", hint=hint)
    return {name: service_of(name) for name in names}


def service_of(service_id: str) -> DescriptorId:
    """Read ``business:feature``; what follows is ignored.

    Raises:
        RequestError: It is not of that form (30109).
    """
    parts = service_id.strip().split(":")
    if len(parts) < 2 or not all(map(is_name, parts[:2])):
        raise RequestError(f"serviceId:{service_id} format error")
    return DescriptorId(parts[0], parts[1])
