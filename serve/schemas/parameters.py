"""Query parameters: types with Rill Flow's bounds for FastAPI, and readers for the hot routes.

The routes call it. It must not know what a parameter is for.

Used by `serve/middleware/form_parameters.py`, `serve/routes`, `serve/routes/console` and
`serve/routes/console_api`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Final, TypeAlias
from urllib.parse import parse_qsl

from fastapi import Query
from pydantic import BeforeValidator, ValidationError
from pydantic_core import PydanticUseDefault
from starlette.types import Scope as ASGIScope

from rillflow.definition import parse_callback
from rillflow.errors import ExecutionError, RequestError
from rillflow.ids import DescriptorId, is_name
from rillflow.jsontypes import decode_json, encode_json
from rillflow.ports.store import LATEST_MS
from rillflow.runtime.submission.intake import Options, checked_key
from rillflow.settings import ResourceCheck

UNPROCESSABLE: Final = 422
LONGEST_WAIT_S: Final = 600
TRUE_WORDS: Final = ("true", "on", "yes", "1")
FALSE_WORDS: Final = ("false", "off", "no", "0")
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


def service_of(service_id: str) -> DescriptorId:
    """Read ``business:feature``; what follows is ignored.

    Raises:
        RequestError: It is not of that form (30109).
    """
    parts = service_id.strip().split(":")
    if len(parts) < 2 or not all(map(is_name, parts[:2])):
        raise RequestError(f"serviceId:{service_id} format error")
    return DescriptorId(parts[0], parts[1])


def view_kind(query: Mapping[str, str]) -> str:
    """Return the kind of query that shows an execution: ``brief`` leaves its tasks out.

    Raises:
        RequestError: ``brief`` is neither a word for yes nor for no (422).
    """
    return "brief" if flag(query.get("brief"), "brief") else "execution"


def query_of(scope: ASGIScope) -> dict[str, str]:
    """Return the parameters of a request's query; of a repeated one, the last.

    They equal Starlette's ``query_params`` as a dictionary, which is faster: each step of a
    workflow reads a dozen.
    """
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))


def required(query: Mapping[str, str], *names: str) -> str:
    """Return a query parameter under the first name that is given.

    Raises:
        RequestError: It is missing (422).
    """
    for name in names:
        if name in query:
            return query[name]
    raise RequestError(
        f"Required request parameter '{names[0]}' for method parameter type String is not present",
        http_status=UNPROCESSABLE,
    )


def nul_refused() -> RequestError:
    """Return the refusal of a parameter with a NUL character, which PostgreSQL cannot store."""
    return RequestError("a parameter holds the character NUL", http_status=UNPROCESSABLE)


def flag(text: str | None, name: str) -> bool:
    """Read a flag in Rill Flow's spellings; absent or blank it is false.

    Raises:
        RequestError: It has another spelling (422).
    """
    word = (text or "").strip().lower()
    if word in TRUE_WORDS:
        return True
    if word and word not in FALSE_WORDS:
        raise RequestError(f"{name} must be true or false, not {text}", http_status=UNPROCESSABLE)
    return False


def seconds(text: str | None) -> float:
    """Read ``wait_s``: seconds to wait, 0 when absent.

    Raises:
        RequestError: It is no number from 0 to 600 (422).
    """
    if text is None:
        return 0.0
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= LONGEST_WAIT_S:
        raise RequestError(
            f"wait_s must be a number from 0 to {LONGEST_WAIT_S}, not {text}",
            http_status=UNPROCESSABLE,
        )
    return number


def user_id(text: str | None) -> int | None:
    """Read ``uid``, None when absent.

    Raises:
        RequestError: It is no whole number of up to 18 digits (422).
    """
    if text is None or not text.strip():
        return None
    number = text.strip()
    digits = number.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= 18):
        raise RequestError(f"uid must be a whole number, not {text}", http_status=UNPROCESSABLE)
    return int(number)


TRAVERSAL_FAILED: Final = 30603
ISOLATIONS: Final = ("shared", "dedicated")


def read_submission(query: Mapping[str, str], headers: Mapping[str, str]) -> Options:
    """Read the options from the query; the idempotency key may be a header instead.

    Raises:
        ExecutionError: The callback is neither a URL nor a CallbackConfig (30603).
        RequestError: Another option is malformed (30109).
    """
    isolation = query.get("isolation")
    if isolation is not None and isolation not in ISOLATIONS:
        raise RequestError(f"isolation must be shared or dedicated, not {isolation}")
    return Options(
        callback=read_callback_config(query.get("callback")),
        isolation=isolation,
        uid=user_id(query.get("uid")),
        idempotency_key=_idempotency_key(query, headers),
        resource_check=read_resource_check(query.get("resource_check")),
    )


def _idempotency_key(query: Mapping[str, str], headers: Mapping[str, str]) -> str | None:
    key = query.get("idempotency_key") or headers.get("idempotency-key")
    return checked_key(key) if key else None


def read_callback_config(text: str | None) -> bytes | None:
    """Read the ``callback`` parameter: a CallbackConfig as JSON, or just a URL.

    Raises:
        ExecutionError: It is neither (30603).
    """
    if text is None or not text.strip():
        return None
    if text.startswith("http"):
        return encode_json({"resourceName": text})
    try:
        config = parse_callback(decode_json(text.encode()))
    except (ValueError, ValidationError) as error:
        raise ExecutionError(
            f"callback is not a callback config: {text[:200]}", TRAVERSAL_FAILED
        ) from error
    return encode_json(config.model_dump(by_alias=True, exclude_none=True))


def read_resource_check(text: str | None) -> ResourceCheck | None:
    """Read ``resource_check``: JSON of ``{check_type, key_resources}``, None when blank.

    Raises:
        RequestError: It is something else (30109).
    """
    if text is None or not text.strip():
        return None
    try:
        value = decode_json(text.encode())
        given = value if isinstance(value, dict) else {"check_type": ""}
        return ResourceCheck.model_validate({k: v for k, v in given.items() if v is not None})
    except (ValueError, ValidationError) as error:
        raise RequestError("resource_check content nonsupport") from error
