"""Parsing of arguments of the command line.

Used by `cli/commands` and `cli/doctor/examination.py`.
"""

import re
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from rillflow.client.files import content_of
from rillflow.errors import RequestError, StackError
from rillflow.jsontypes import JsonObject, JsonValue, decode_json
from rillflow.runtime.process.clock import SystemClock
from rillflow.settings import Settings

MOST_DATA_BYTES: Final = 64 * 1024 * 1024
"""Limit of the data that a command reads; servers take a mebibyte unless they are set otherwise."""
UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_AGE: Final = re.compile(r"([0-9]{1,9})([smhd])")


def moment_ms(text: str) -> int:
    """Read a moment, in milliseconds since the epoch: an age such as ``15m``, or a time.

    A time is that of this machine's zone unless it names another one.

    Raises:
        RequestError: It is neither.
    """
    if age := _AGE.fullmatch(text):
        return max(SystemClock().now_ms() - int(age[1]) * UNITS_S[age[2]] * 1000, 0)
    try:
        return max(int(datetime.fromisoformat(text).timestamp() * 1000), 0)
    except (ValueError, OverflowError, OSError) as error:
        reason = f"{text} is neither an age like 15m (s, m, h, d) nor a time like 2026-01-31T12:00"
        raise RequestError(reason) from error


def json_argument(text: str) -> JsonObject:
    """Read a JSON object: as it stands, ``@file``, or ``-`` for standard input.

    Raises:
        RequestError: It is no JSON object, or standard input is too long.
        OSError: The file cannot be read, is no ordinary file, or is too large.
    """
    source, written = "--data", text.encode(errors="surrogateescape")
    if text == "-":
        source, written = "standard input", _standard_input()
    elif text.startswith("@"):
        path = Path(text[1:])
        source, written = str(path), content_of(path, most_bytes=MOST_DATA_BYTES)
    try:
        value = decode_json(written)
    except ValueError as error:
        raise RequestError(f"{source} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RequestError(f"{source} is not a JSON object")
    return value


def fields_of(texts: Sequence[str], *, as_text: Collection[str] = ()) -> JsonObject:
    """Read fields as ``KEY=VALUE``: a value is JSON, or text if it is no JSON.

    Args:
        texts: The fields.
        as_text: Keys whose values are texts, whatever they look like.

    Raises:
        RequestError: There is no ``=``, or a key comes twice.
    """
    fields: JsonObject = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise RequestError(f"{text} is no KEY=VALUE, such as topic=sea or 'sizes=[1, 2]'")
        if key in fields:
            raise RequestError(f"the key {key} is given twice")
        fields[key] = value if key in as_text else _json_or_text(value)
    return fields


def _json_or_text(text: str) -> JsonValue:
    try:
        return decode_json(text.encode(errors="surrogateescape"))
    except ValueError:
        return text


def _standard_input() -> bytes:
    written = sys.stdin.read(MOST_DATA_BYTES + 1)
    if len(written) > MOST_DATA_BYTES:
        raise RequestError(f"standard input is longer than {MOST_DATA_BYTES} characters")
    return written.encode(errors="surrogateescape")


def settings_from(given: Mapping[str, Any]) -> Settings:
    """Return the settings, of which the options that are given (not None) come first.

    Raises:
        StackError: One of them is wrong.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise StackError(_first_problem(error)) from error


def _first_problem(error: ValueError) -> str:
    problems: list[Any] = getattr(error, "errors", list)()
    if not problems:
        return f"a setting is wrong: {error}"
    where = ".".join(str(part) for part in problems[0]["loc"])
    what = f"the setting {where} is" if where else "the settings are"
    return f"{what} wrong: {problems[0]['msg'].removeprefix('Value error, ')}"
