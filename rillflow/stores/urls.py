"""Addresses of databases: checked, and as they may be shown, which is without passwords.

Used by `stores`, `cli/commands` and `cli/doctor`.
"""

import re
from typing import Final
from urllib.parse import urlsplit

from rillflow.errors import StoreError

_PASSWORD: Final = re.compile(r"^([a-z]+://[^:@/?]*):.*@")
_PARAMETER: Final = re.compile(r"((?:ssl)?password=)[^&]*")


def masked(url: str) -> str:
    """Return a URL with its password hidden."""
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", url))


def refuse_malformed(url: str) -> None:
    """Refuse an address that no driver can read; the driver's own error would show parts of it.

    Raises:
        StoreError: Host and port cannot be told, most likely for a password that is not encoded.
    """
    try:
        _ = urlsplit(url).port
    except ValueError:
        raise StoreError(
            "the address of the store is malformed: in user names and passwords / ? # @ and % are"
            " written as %2F %3F %23 %40 and %25"
        ) from None
