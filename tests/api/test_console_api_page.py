"""The answers that docs/console-api.md shows are JSON, with names that the code writes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "console-api.md").read_text(encoding="utf-8")
SHOWN: Final = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
CODE: Final = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("rillflow", "serve")
    for path in (ROOT / folder).rglob("*.py")
)
WRITTEN: Final = frozenset(re.findall(r'(?<=")\w+(?=")|\b\w+\b(?= *[:=])', CODE))
OF_USERS: Final = frozenset(
    {"A", "B", "a", "b", "film", "shop:order_c_...", "...", "0123456789abcdef0123456789abcdef"}
)
"""Names of tasks and versions and keys of a context, which are anybody's."""


def keys_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_of(inner)


def test_each_name_of_an_answer_that_is_shown_is_one_that_the_code_writes() -> None:
    assert SHOWN
    shown = {key for answer in SHOWN for key in keys_of(answer)} - OF_USERS
    strange = {key for key in shown - WRITTEN if f'"{key}"' not in CODE}
    assert not strange
