"""``rillflow.Artifact``: bytes or a file that a function takes or returns.

A function that asks for an ``Artifact`` by a type hint gets one that it can open. What it returns
is stored, and the output of the task is the reference. A remote method, whose hints its caller does
not know, gets a ``GivenArtifact``.

Used by `artifacts`, `functions`, `ray_tasks`, `rillflow/__init__.py` and `serve`.
"""

import hashlib
import io
import mimetypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, Self

from pydantic_core import CoreSchema, core_schema

from rillflow.artifacts.references import (
    ANY_TYPE,
    URL,
    ArtifactReference,
    clean_media_type,
    clean_name,
    reference_of,
)

PIECE_BYTES: Final = 1 << 18
MOST_TRAVELLING_BYTES: Final = 1 << 28
"""The largest file that goes to another process with its artifact."""


class ArtifactSource(Protocol):
    """Where the artifacts of a call come from and go to."""

    def check(self, reference: ArtifactReference, url: str) -> None:
        """Make sure that an artifact can be opened.

        Raises:
            ArtifactLostError: It is gone.
        """
        ...

    def open(self, reference: ArtifactReference, url: str) -> BinaryIO:
        """Open an artifact for reading."""
        ...

    def open_file(self, file: Path) -> BinaryIO:
        """Open a file that a function has returned; only its own process may read that.

        Raises:
            OSError: It cannot be read.
        """
        ...

    def keep(self, data: BinaryIO, media_type: str, name: str) -> ArtifactReference:
        """Store an artifact."""
        ...


_source: ContextVar[ArtifactSource | None] = ContextVar("artifact_source", default=None)


@contextmanager
def artifacts_from(source: ArtifactSource | None) -> Iterator[None]:
    """Use a source for the artifacts of a call, in this context and in copies of it."""
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)


def present_source() -> ArtifactSource | None:
    """Return the source of the call that is made in this context."""
    return _source.get()


class Artifact:
    """Bytes or a file, with a media type and a name.

    Args:
        data: The bytes, or the path of a file.
        media_type: Such as ``video/webm``; by the name if it is None.
        name: File name for people who save it; that of the file if it is None.
    """

    def __init__(
        self, data: bytes | Path, media_type: str | None = None, name: str | None = None
    ) -> None:
        named = name or (data.name if isinstance(data, Path) else "artifact")
        self.name = clean_name(named)
        self.media_type = clean_media_type(media_type or type_by_name(self.name))
        self._data: bytes | Path | None = data
        self._reference: ArtifactReference | None = None
        self._source: ArtifactSource | None = None
        self._url = ""

    def __getstate__(self) -> dict[str, Any]:
        """Return what travels to another process: of a file its content, read by this one.

        Raises:
            OSError: The file cannot be read, or has more than ``MOST_TRAVELLING_BYTES``.
        """
        state = dict(self.__dict__)
        if isinstance(self._data, Path) and self._reference is None:
            state["_data"] = _content_of(self._data)
        return state

    def __repr__(self) -> str:
        return f"Artifact(name={self.name!r}, media_type={self.media_type!r})"

    @property
    def size_bytes(self) -> int:
        """Size of the content."""
        if self._reference is not None:
            return self._reference.size_bytes
        return self._data.stat().st_size if isinstance(self._data, Path) else len(self._data or b"")

    @property
    def sha256(self) -> str:
        """SHA-256 of the content, in hexadecimal digits."""
        if self._reference is not None:
            return self._reference.sha256
        digest = hashlib.sha256()
        with self.open() as content:
            while piece := content.read(PIECE_BYTES):
                digest.update(piece)
        return digest.hexdigest()

    def open(self) -> BinaryIO:
        """Open the content for reading.

        Raises:
            ArtifactLostError: It is gone.
            OSError: It cannot be read.
        """
        if self._reference is not None and self._source is not None:
            return self._source.open(self._reference, self._url)
        return (
            self._data.open("rb") if isinstance(self._data, Path) else io.BytesIO(self._data or b"")
        )

    def read(self) -> bytes:
        """Return the content."""
        with self.open() as content:
            return content.read()

    def save(self, path: Path | str) -> Path:
        """Write the content to a file, and return its path; in a folder, under the name."""
        file = Path(path)
        if file.is_dir():
            file /= self.name
        with self.open() as content, file.open("wb") as out:
            shutil.copyfileobj(content, out, PIECE_BYTES)
        return file

    def stored(self) -> ArtifactReference:
        """Store the content, unless it is stored already, and return the reference.

        Raises:
            RuntimeError: No task makes this call, so there is no store.
        """
        if self._reference is None:
            source = present_source()
            if source is None:
                raise RuntimeError("an artifact is stored only in a call that a task makes")
            file = self._data if isinstance(self._data, Path) else None
            with self.open() if file is None else source.open_file(file) as content:
                self._reference = source.keep(content, self.media_type, self.name)
            self._source = source
        return self._reference

    @classmethod
    def __get_pydantic_core_schema__(cls, _source_type: Any, _handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._of_input, serialization=core_schema.plain_serializer_function_ser_schema(_as_json)
        )

    @classmethod
    def _of_input(cls, value: Any) -> "Artifact":
        """Return the artifact that an input refers to."""
        if isinstance(value, Artifact):
            return value
        reference = reference_of(value)
        if reference is None:
            raise ValueError("it is no reference to an artifact")
        source = present_source()
        if source is None:
            raise ValueError("there is no store of artifacts here")
        given = value.get(URL)
        url = given if isinstance(given, str) else ""
        source.check(reference, url)
        return cls.stored_at(source, reference, url)

    @classmethod
    def stored_at(cls, source: ArtifactSource, reference: ArtifactReference, url: str = "") -> Self:
        """Return an artifact that is stored already; whether it is there is not asked."""
        artifact = cls(b"", reference.media_type, reference.name)
        artifact._reference = reference
        artifact._source = source
        artifact._url = url
        return artifact


class GivenArtifact(Artifact, dict[str, Any]):
    """An artifact that can be opened, and is its reference as well, a dict.

    Remote methods get it in the place of a reference. One with the hint ``Artifact`` can open it,
    and one that takes JSON finds the fields that it knows.
    """

    @classmethod
    def stored_at(cls, source: ArtifactSource, reference: ArtifactReference, url: str = "") -> Self:
        """Return an artifact that is stored already; whether it is there is not asked."""
        artifact = super().stored_at(source, reference, url)
        artifact.update(reference.json())
        return artifact


def _content_of(file: Path) -> bytes:
    with file.open("rb") as opened:
        is_large = os.fstat(opened.fileno()).st_size > MOST_TRAVELLING_BYTES
        content = b"" if is_large else opened.read(MOST_TRAVELLING_BYTES + 1)
    if is_large or len(content) > MOST_TRAVELLING_BYTES:
        raise OSError(
            f"the file {file} has over {MOST_TRAVELLING_BYTES} bytes: it cannot go to another"
            " process with its artifact"
        )
    return content


def _as_json(artifact: Artifact) -> dict[str, Any]:
    return artifact.stored().json()


def type_by_name(name: str) -> str:
    """Return the media type of a file by its name."""
    return mimetypes.guess_type(name, strict=False)[0] or ANY_TYPE
