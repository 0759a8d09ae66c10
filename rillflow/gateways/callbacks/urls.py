"""The callback address that a function gets (spec 4.2).

Its form is byte for byte Rill Flow's: keys sorted, everything but letters, digits, ``.``, ``-`` and
``_`` percent-encoded.

Used by `gateways/http/requests.py` and `serve/middleware/signatures.py`.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from rillflow.gateways.callbacks.seals import SEAL, seal
from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.gateways.outbound.targets import percent_encoded
from rillflow.jsontypes import JsonValue

TRIGGER_PATH: Final = "/flow/trigger.json"
PURPOSE: Final = "purpose"
_CALLBACK: Final = "callback"


def callback_url(  # noqa: PLR0913 - the facts of an address
    settings: HttpSettings,
    *,
    execution_id: str,
    task: str,
    attempt: int,
    ts_ms: int,
    signed: bool,
) -> str:
    """Build ``X-Callback-Url`` for a task instance.

    Args:
        settings: Callback host, signing secret and callback keys.
        execution_id: Execution that waits.
        task: Full instance name of the task that waits; empty for the notice that an
            execution has ended (spec 3.19), which carries no ``task_name``.
        attempt: The attempt that the address is for; part of it if there are callback keys.
        ts_ms: Time of the dispatch, milliseconds since the epoch.
        signed: Whether to add ``sign``.
    """
    address = (settings.callback_host or settings.server_host).rstrip("/") + TRIGGER_PATH
    if not signed and not settings.callback_keys:
        # So are nearly all; the keys are in order.
        named = f"&task_name={_encode(task)}" if task else ""
        return f"{address}?execution_id={_encode(execution_id)}{named}&ts={ts_ms}"
    fields = {"execution_id": execution_id, "ts": str(ts_ms)}
    if task:
        fields["task_name"] = task
    if task and settings.callback_keys:
        expires_s = ts_ms // 1000 + settings.callback_ttl_s
        fields |= seal(
            settings.callback_keys[0],
            execution_id=execution_id,
            task=task,
            attempt=attempt,
            expires_s=expires_s,
        )
    if signed and settings.marks_callbacks:
        fields[PURPOSE] = _CALLBACK
    if signed:
        fields["sign"] = signature(settings.auth_secret, fields)
    return f"{address}?{sorted_query(fields)}"


def is_of_callback(fields: Mapping[str, str]) -> bool:
    """Tell whether signed fields are those of a callback address."""
    return fields.get(PURPOSE) == _CALLBACK or SEAL in fields


def signature(secret: str, fields: Mapping[str, str]) -> str:
    """Return Base64 of HMAC-SHA1 over the sorted, encoded query of the fields."""
    message = sorted_query(fields).encode()
    return base64.b64encode(hmac.digest(secret.encode(), message, hashlib.sha1)).decode()


def wants_signature(flag: JsonValue) -> bool:
    """Tell whether ``generate_auth`` asks for a signature: 1 or true, in any JSON type or case."""
    if isinstance(flag, str):
        return flag.strip().lower() in ("1", "true")
    return flag is True or flag == 1


def sorted_query(fields: Mapping[str, str]) -> str:
    """Return the fields as a query in the form that is signed."""
    return "&".join([f"{_encode(key)}={_encode(fields[key])}" for key in sorted(fields)])


def _encode(text: str) -> str:
    """Encode a text; most are letters and digits, which takes the least time to see."""
    return text if text.isascii() and text.isalnum() else _quoted(text)


@lru_cache(maxsize=4096)
def _quoted(text: str) -> str:
    """Encode an id or a name; cached, because the tasks of an execution repeat them."""
    return percent_encoded(text)
