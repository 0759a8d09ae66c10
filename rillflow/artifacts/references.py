"""References to artifacts, as they stand in contexts, inputs and outputs.

A reference is a JSON object: ``{"rillflow_artifact": SHA256, "bytes": 12, "media_type":
"image/png", "name": "a.png"}``. In the input of an HTTP function it also has the ``url``
to fetch the artifact from.

Used by `artifacts`, `functions`, `gateways`, `ray_tasks`, `runtime` and `serve`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

MARK: Final = "rillflow_artifact"
"""The field by which a reference is known."""
MARK_BYTES: Final = f'"{MARK}"'.encode()
URL: Final = "url"
ANY_TYPE: Final = "application/octet-stream"
LONGEST_NAME: Final = 128

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MEDIA_TYPE: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,63}/[A-Za-z0-9!#$&^_.+-]{1,63}")
_NOT_IN_A_NAME: Final = re.compile(r"[^\w .,()+@=-]")
_MOST_BYTES: Final = 1 << 60
_DEEPEST: Final = 200


class ArtifactReference(NamedTuple):
    """What identifies an artifact: its content by SHA-256, with its size, media type and name."""

    sha256: str
    size_bytes: int
    media_type: str
    name: str

    def json(self, url: str = "") -> dict[str, Any]:
        """Return the reference as JSON, with an address if one is given."""
        shown: dict[str, Any] = {
            MARK: self.sha256,
            "bytes": self.size_bytes,
            "media_type": self.media_type,
            "name": self.name,
        }
        return shown | {URL: url} if url else shown

    def __str__(self) -> str:
        return f"{self.name} ({self.sha256[:12]})"


def reference_of(value: Any) -> ArtifactReference | None:
    """Read a reference; None if the value is none."""
    if not isinstance(value, Mapping) or not is_sha256(value.get(MARK)):
        return None
    size = value.get("bytes")
    is_size = isinstance(size, int) and 0 <= size <= _MOST_BYTES
    return ArtifactReference(
        str(value[MARK]),
        int(size) if is_size else 0,  # type: ignore[arg-type] # it is an integer then
        clean_media_type(value.get("media_type")),
        clean_name(value.get("name")),
    )


def is_sha256(value: Any) -> bool:
    """Tell whether a value is a SHA-256 as references have it."""
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def clean_media_type(value: Any) -> str:
    """Return a media type without parameters; that of any bytes for what is none."""
    text = value.partition(";")[0].strip().lower() if isinstance(value, str) else ""
    return text if _MEDIA_TYPE.fullmatch(text) else ANY_TYPE


def clean_name(value: Any) -> str:
    """Return a file name that is one part of a path, and has no control characters."""
    text = value if isinstance(value, str) else ""
    last = re.split(r"[/\\]", text)[-1][:LONGEST_NAME]
    return _NOT_IN_A_NAME.sub("_", last).strip(" .") or "artifact"


def replaced(value: Any, replace: Callable[[ArtifactReference], Any]) -> Any:
    """Return a JSON value with each reference in it replaced; what has none stays the same object.

    Args:
        value: A JSON value.
        replace: Returns what stands in the place of a reference.
    """
    return _replaced(value, replace, _DEEPEST)


def _replaced(value: Any, replace: Callable[[ArtifactReference], Any], levels: int) -> Any:
    if not levels or not isinstance(value, dict | list):
        return value
    if isinstance(value, list):
        return [_replaced(each, replace, levels - 1) for each in value]
    reference = reference_of(value) if MARK in value else None
    if reference is not None:
        return replace(reference)
    return {key: _replaced(each, replace, levels - 1) for key, each in value.items()}
