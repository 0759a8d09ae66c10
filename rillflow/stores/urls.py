"""Addresses of stores as they may be shown: without passwords.

Used by `cli/commands` and `cli/doctor`.
"""

import re
from typing import Final

_PASSWORD: Final = re.compile(r"^([a-z]+://[^:@/?]*):[^?]*@")
_PARAMETER: Final = re.compile(r"((?:ssl)?password=)[^&]*")


def masked(url: str) -> str:
    """Return a URL with its password hidden."""
    return _PARAMETER.sub(r"\1***", _PASSWORD.sub(r"\1:***@", url))
