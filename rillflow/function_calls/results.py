"""What a function returns or raises becomes the JSON of a task's output.

Used by `ray_tasks/worker.py` and `functions/running.py`.
"""

from typing import Any, Final

from pydantic_core import PydanticSerializationError, to_json

from rillflow.artifacts.results import with_artifacts
from rillflow.function_calls.failures import OWN_ERRORS, FunctionResultError, failure_facts
from rillflow.jsontypes import NEVER_TOO_MUCH_BYTES, decode_json, why_too_much

_EMPTY: Final = b"{}"


def encoded_result(result: Any, most_bytes: int) -> bytes:
    """Encode a result as a JSON object: what is no object becomes its ``data``, None is empty.

    Files, bytes, arrays and images become references to artifacts, where there is a store.

    Raises:
        FunctionResultError: It is no JSON, or too large.
    """
    if result is None:
        return _EMPTY
    result = with_artifacts(result)
    try:
        text = to_json(result, fallback=_plain)
        if len(text) <= most_bytes:
            decode_json(text)
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise FunctionResultError(
            f"the result, of type {type(result).__qualname__}, is no JSON, which also has no NaN"
            f" and no infinity: {error}"
        ) from None
    body = text if text.startswith(b"{") else b'{"data":%b}' % text
    if len(body) > most_bytes:
        raise FunctionResultError(
            f"the result has {len(body)} bytes of JSON, and {most_bytes} are allowed"
        )
    if len(body) > NEVER_TOO_MUCH_BYTES and (reason := why_too_much(body)):
        raise FunctionResultError(f"the result cannot be kept: {reason}")
    return body


def described(error: BaseException, *, traced: bool = True) -> tuple[dict[str, str], str]:
    """Return the facts of what a function has raised, and the same in words.

    Our own words need no trace. Text is without lone surrogates, which JSON cannot have.
    """
    facts = failure_facts(error, traced=traced and not isinstance(error, OWN_ERRORS))
    sound = {key: _sound(value) for key, value in facts.items()}
    return sound, f"{sound['type']}: {sound['message']}"


def _sound(text: str) -> str:
    return str.encode(text, errors="replace").decode()


def _plain(value: Any) -> Any:
    """Return an array or number of NumPy, and of what is like it, as lists and numbers of Python.

    Raises:
        TypeError: It is none.
    """
    tolist = getattr(value, "tolist", None)
    if callable(tolist):
        return tolist()
    raise TypeError(f"a value of type {type(value).__qualname__} is no JSON")
