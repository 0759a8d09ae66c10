"""Literals that were meant as paths.

A source is a path only if it begins with ``$`` (SEMANTICS 2.3). ``context.name``, or a path
inside a longer text, is copied as it is written, and nothing tells of it at run time.
"""

import re
from collections.abc import Iterator
from typing import Final

from rillflow.definition.nodes import Path, shown
from rillflow.definition.validation import Finding
from rillflow.language.secret_references import is_path

_MAPPING: Final = 30406
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


def literal_findings(source: str | None, path: Path) -> Iterator[Finding]:
    """Generate what looks like a path in a source, or in a default, that is none."""
    text = (source or "").strip()
    if not text or is_path(source or ""):
        return
    meant = _meant(text)
    if meant:
        message = f"`{shown(text)}` is taken as a text, since a path begins with `$.`"
        yield Finding(_MAPPING, message, path, hint=f"did you mean `{shown(meant)}`?")
    elif _INSIDE.search(text):
        message = f"a path inside a text is not replaced by its value: `{shown(text)}`"
        yield Finding(_MAPPING, message, path, hint="a transform can put values together")


def path_meant(source: str) -> str:
    """Return the path that a malformed one was meant to be; empty where none is near."""
    found = _WITHOUT_DOT.fullmatch(source.strip()) or _BRACED.fullmatch(source.strip())
    return f"$.{found[1]}" if found else ""


def _meant(text: str) -> str:
    if _BARE.fullmatch(text) and not _is_file_name(text):
        return f"$.{text}"
    return text if text.startswith("$.") and _BARE.fullmatch(text[2:]) else path_meant(text)


def _is_file_name(text: str) -> bool:
    stem, _, ending = text.partition(".")
    return stem != "context" and _FILE_ENDING.fullmatch(ending) is not None
