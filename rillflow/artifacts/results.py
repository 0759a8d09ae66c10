"""What a function returns, with artifacts in the place of files, bytes, arrays and images.

Used by `function_calls/results.py`.
"""

import dataclasses
import io
import sys
from pathlib import Path
from typing import Any, Final

from rillflow.artifacts.artifact import Artifact, present_source

_DEEPEST: Final = 200
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})


def with_artifacts(result: Any) -> Any:
    """Return a result in which what is to be an artifact is a reference; the rest is as it was.

    ``Artifact``, ``bytes`` and ``Path`` are stored as they are, an array of NumPy as ``.npy``, and
    an image of PIL as PNG. Where there is no store, nothing is changed.
    """
    return result if present_source() is None else _converted(result, _DEEPEST)


def _converted(value: Any, levels: int) -> Any:
    """Return a value with references, the same object if there are none in it."""
    if type(value) in _PLAIN or not levels:
        return value
    artifact = _artifact_of(value)
    if artifact is not None:
        return artifact.stored().json()
    return _converted_parts(value, levels)


def _converted_parts(value: Any, levels: int) -> Any:
    if isinstance(value, dict):
        return value if _all_plain(value.values()) else _converted_map(value, value, levels)
    if isinstance(value, list | tuple):
        return value if _all_plain(value) else _converted_list(value, levels)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return _converted_map(fields, value, levels)
    if callable(getattr(type(value), "model_dump", None)):
        return _converted_map(value.model_dump(), value, levels)
    return value


def _all_plain(values: Any) -> bool:
    return {*map(type, values)} <= _PLAIN


def _converted_map(fields: dict[Any, Any], whole: Any, levels: int) -> Any:
    made = {key: _converted(each, levels - 1) for key, each in fields.items()}
    return made if any(made[key] is not fields[key] for key in fields) else whole


def _converted_list(values: Any, levels: int) -> Any:
    made = [_converted(each, levels - 1) for each in values]
    changed = any(new is not old for new, old in zip(made, values, strict=True))
    return made if changed else values


def _artifact_of(value: Any) -> Artifact | None:
    if isinstance(value, Artifact):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return Artifact(bytes(value))
    if isinstance(value, Path):
        return Artifact(value)
    array = getattr(sys.modules.get("numpy"), "ndarray", None)
    if array is not None and isinstance(value, array):
        return _of_array(value)
    image = getattr(sys.modules.get("PIL.Image"), "Image", None)
    return _of_image(value) if image is not None and isinstance(value, image) else None


def _of_array(array: Any) -> Artifact:
    content = io.BytesIO()
    sys.modules["numpy"].save(content, array, allow_pickle=False)
    return Artifact(content.getvalue(), "application/x-npy", "array.npy")


def _of_image(image: Any) -> Artifact:
    content = io.BytesIO()
    image.save(content, format="PNG")
    return Artifact(content.getvalue(), "image/png", "image.png")
