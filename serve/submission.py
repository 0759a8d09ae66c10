"""What a submission may say besides its data (SEMANTICS 5.2, 6.2, Q7)."""

from collections.abc import Mapping
from typing import NamedTuple

from pydantic import ValidationError

from rillflow.definition.model import CallbackConfig
from rillflow.errors import ExecutionError, RequestError
from rillflow.jsontypes import JsonValue, decode_json, encode_json

TRAVERSAL_FAILED = 30603
ISOLATIONS = ("shared", "dedicated")
CHECK_TYPES = ("short_board", "long_board", "key_resource", "skip")


class SubmissionOptions(NamedTuple):
    """Options of one submission; ``callback`` is a CallbackConfig as JSON."""

    callback: bytes | None = None
    isolation: str | None = None


def read_submission(query: Mapping[str, str]) -> SubmissionOptions:
    """Read the options from the query.

    Raises:
        ExecutionError: The callback is neither a URL nor a CallbackConfig (30603).
        RequestError: Another option is malformed (30109).
    """
    isolation = query.get("isolation")
    if isolation is not None and isolation not in ISOLATIONS:
        raise RequestError(f"isolation must be shared or dedicated, not {isolation}")
    _check_resource_check(query.get("resource_check"))
    return SubmissionOptions(read_callback_config(query.get("callback")), isolation)


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
        config = CallbackConfig.model_validate(decode_json(text.encode()))
    except (ValueError, ValidationError) as error:
        raise ExecutionError(
            f"callback is not a callback config: {text[:200]}", TRAVERSAL_FAILED
        ) from error
    return encode_json(config.model_dump(by_alias=True, exclude_none=True))


def _check_resource_check(text: str | None) -> None:
    if text is None or not text.strip():
        return
    try:
        value: JsonValue = decode_json(text.encode())
    except ValueError:
        value = None
    if not isinstance(value, dict) or value.get("check_type") not in (None, *CHECK_TYPES):
        raise RequestError("resource_check content nonsupport")
