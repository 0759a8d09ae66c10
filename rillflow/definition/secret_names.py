"""Names that suggest a secret, whose values are masked where they are shown.

Used by `core/redaction.py`, `definition/addresses.py` and `definition/checks/search_keys.py`.
"""

import re
from typing import Final

_NOT_ALPHANUMERIC: Final = re.compile(r"[^A-Za-z0-9]")
_BETWEEN_NAMES: Final = re.compile(r"[^\w-]+")
_SECRET_ENDINGS: Final = (
    *("password", "passwd", "pwd", "secret", "secretkey", "apikey", "accesskey", "privatekey"),
    *("authorization", "token", "cookie", "credential", "credentials", "generateauth"),
)
_SIGNATURES: Final = ("signature", "sig", "-key")


def is_secret_name(key: str) -> bool:
    """Tell whether a key has the name of a secret."""
    return _NOT_ALPHANUMERIC.sub("", key).lower().endswith(_SECRET_ENDINGS)


def is_secret_parameter(name: str) -> bool:
    """Tell whether a parameter of an address has the name of a secret, or of a signature."""
    return is_secret_name(name) or name.lower().replace("_", "-").endswith(_SIGNATURES)


def names_secret(text: str) -> bool:
    """Tell whether a path or a rule has a name that suggests a secret."""
    return any(map(is_secret_name, _BETWEEN_NAMES.split(text)))
