"""Seals of callback addresses; with `callback_keys` set, a callback to a function needs one.

A seal is an HMAC-SHA256 over execution, task, attempt and expiry. The address has it as
``attempt``, ``expires`` (seconds since the epoch) and ``seal``, beside Rill Flow's ``sign``, which
functions verify and servers do not.

Used by `gateways/callbacks/urls.py` and `serve/routes/hot.py`.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Final

from rillflow.errors import ForgedCallbackError

SEAL: Final = "seal"
_LONGEST_NUMBER: Final = 15
_PURPOSE: Final = b"rillflow callback 1"


def seal(key: str, *, execution_id: str, task: str, attempt: int, expires_s: int) -> dict[str, str]:
    """Return the fields that seal an address."""
    code = _code(key, execution_id, task, str(attempt), str(expires_s))
    return {"attempt": str(attempt), "expires": str(expires_s), SEAL: code}


def attempt_of_seal(
    keys: Iterable[str], query: Mapping[str, str], *, execution_id: str, task: str, now_s: int
) -> int:
    """Return the attempt for which an address is sealed, 0 if it has no seal.

    Args:
        keys: Any of them may have made the seal; all are tried, in constant time each.
        query: Parameters of the address.
        execution_id: The execution of the callback.
        task: The task of the callback.
        now_s: Seconds since the epoch.

    Raises:
        ForgedCallbackError: The seal is invalid or has expired.
    """
    if SEAL not in query:
        return 0
    attempt, expires = query.get("attempt", ""), query.get("expires", "")
    given = query[SEAL].encode()
    codes = [_code(key, execution_id, task, attempt, expires).encode() for key in keys]
    fits = [hmac.compare_digest(given, code) for code in codes]
    if not any(fits) or not (_is_number(attempt) and _is_number(expires)):
        raise ForgedCallbackError("the seal of the callback address is broken")
    if now_s > int(expires):
        raise ForgedCallbackError("the time of the callback address is over")
    return int(attempt)


def _code(key: str, *facts: str) -> str:
    """Authenticate the fields, each with its length, so that no two lists give the same bytes."""
    parts = [_PURPOSE, *(fact.encode(errors="replace") for fact in facts)]
    message = b"".join(b"%d:%b" % (len(part), part) for part in parts)
    code = hmac.digest(key.encode(), message, hashlib.sha256)
    return base64.urlsafe_b64encode(code).rstrip(b"=").decode()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER
