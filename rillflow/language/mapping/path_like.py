"""Literals that were probably meant as paths.

Mappings and lint rules warn of them. A source is a path only if it begins with ``$`` (spec 2.3).
``context.name``, or a path inside a longer text, is copied as text.

Used by `definition/lint/literals.py`, `definition/lint/warnings.py` and
`language/mapping/write_checks.py`.
"""

import re
from typing import Final

_STEPS: Final = r"(?:\.[A-Za-z_][\w-]*|\[(?:\d+|'[^']*'|\"[^\"]*\")\])"
_ROOT: Final = r"(?:context|input|output)"
_BARE: Final = re.compile(rf"{_ROOT}{_STEPS}+")
_BRACED: Final = re.compile(rf"\$?\{{{{?\s*\$?\.?({_ROOT}{_STEPS}+)\s*\}}}}?")
_WITHOUT_DOT: Final = re.compile(rf"\$({_ROOT}{_STEPS}+)")
_INSIDE: Final = re.compile(rf"\$\.{_ROOT}\.\w")
_FILE_ENDING: Final = re.compile(
    r"avi|bin|csv|dat|gif|gz|html|jpe?g|js|jsonl?|log|m4a|md|mkv|mov|mp[34]|ogg|parquet|pdf|png|py"
    r"|srt|t?gz|tar|tiff?|toml|tsv|txt|wav|web[mp]|xlsx?|xml|ya?ml|zip",
    re.IGNORECASE,
)


def literal_meant_as_path(literal: str) -> str:
    """Return the path that a literal source was probably meant to be; empty for none."""
    text = literal.strip()
    if _BARE.fullmatch(text) and not _is_file_name(text):
        return f"$.{text}"
    return text if text.startswith("$.") and _BARE.fullmatch(text[2:]) else path_meant(text)


def has_path_inside(literal: str) -> bool:
    """Tell whether a longer text contains a path, which is not replaced by its value."""
    return _INSIDE.search(literal) is not None


def path_meant(source: str) -> str:
    """Return the path that a malformed one was probably meant to be; empty for none."""
    found = _WITHOUT_DOT.fullmatch(source.strip()) or _BRACED.fullmatch(source.strip())
    return f"$.{found[1]}" if found else ""


def _is_file_name(text: str) -> bool:
    stem, _, ending = text.partition(".")
    return stem != "context" and _FILE_ENDING.fullmatch(ending) is not None
