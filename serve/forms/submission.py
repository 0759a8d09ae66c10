"""The options of a submission, apart from its data (spec 5.2, 6.2, Q7).

``routes/hot.py`` and ``routes/protection.py`` call it. It must not know how options
are used.
"""

from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from rillflow.definition import parse_callback
from rillflow.errors import ExecutionError, RequestError
from rillflow.jsontypes import decode_json, encode_json
from rillflow.runtime.submission.intake import Options, checked_key
from rillflow.settings import ResourceCheck
from serve.forms.parameters import user_id

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
    return checked_key(query.get("idempotency_key") or headers.get("idempotency-key"))


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
