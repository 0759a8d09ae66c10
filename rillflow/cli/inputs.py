"""What a user writes on the command line, read."""

import sys
from pathlib import Path

from rillflow.errors import RequestError
from rillflow.jsontypes import JsonObject, decode_json


def json_argument(text: str) -> JsonObject:
    """Read a JSON object: as it stands, ``@file``, or ``-`` for standard input.

    Raises:
        RequestError: It is no JSON object.
        OSError: The file cannot be read.
    """
    source = "--data"
    if text == "-":
        text, source = sys.stdin.read(), "standard input"
    elif text.startswith("@"):
        path = Path(text[1:])
        text, source = path.read_text(encoding="utf-8"), str(path)
    try:
        value = decode_json(text)
    except ValueError as error:
        raise RequestError(f"{source} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise RequestError(f"{source} is not a JSON object")
    return value
