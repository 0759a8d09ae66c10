"""The file of an export: compressed frames, each a length and one structure in msgpack.

A file begins with ``Header`` and ends with ``End``, so one that was cut is recognized. Between them
are rows of tables, and executions: ``ExecutionFrame``, then its ``PayloadFrame``, ``RecordsFrame``
and ``SnapshotFrame``. A reader takes one frame at a time, of bounded length, and checks it.

Used by `transfer/exporting.py`, `transfer/importing.py` and `cli/commands`.
"""

import gzip
import zlib
from collections.abc import Iterator
from typing import Annotated, BinaryIO, Final, TypeAlias

import msgspec

from rillflow.errors import StoreError
from rillflow.stores.transfer.rows import LARGEST_COUNTED, Integer, MovedExecution

FORMAT: Final = 1
"""Raised by each release that writes what earlier ones do not read."""
MOST_FRAME_BYTES: Final = 256 * 1024 * 1024
MOST_COLUMNS: Final = 40
LENGTH_BYTES: Final = 4
COMPRESSION: Final = 3
_CHUNK_BYTES: Final = 1 << 20


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="header"):
    """What a file is.

    Attributes:
        format: The form of the file.
        release: The release that wrote it.
        exported_at_ms: When its export began.
        since_ms: Executions that had ended before are not in it; None if all are in it.
        has_keys: Whether the hashes of API keys are in it.
        next_trigger_id: The number of the next trigger without a name.
    """

    format: int
    release: str
    exported_at_ms: Integer
    since_ms: Integer | None = None
    has_keys: bool = False
    next_trigger_id: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_COUNTED)] = 1


Value: TypeAlias = str | Integer | bool | None
Row: TypeAlias = Annotated[tuple[Value, ...], msgspec.Meta(max_length=MOST_COLUMNS)]


class TableFrame(msgspec.Struct, frozen=True, tag="table"):
    """Rows of a table; of versions, all of one alias, the oldest first."""

    table: str
    rows: Annotated[list[Row], msgspec.Meta(max_length=10_000)]


class ExecutionFrame(msgspec.Struct, frozen=True, tag="execution"):
    """The beginning of an execution."""

    execution: MovedExecution


class PayloadFrame(msgspec.Struct, frozen=True, tag="payload"):
    """A large value of the execution."""

    sha256: bytes
    in_record: bool
    value: bytes


class RecordsFrame(msgspec.Struct, frozen=True, tag="records"):
    """The next records of the execution."""

    records: Annotated[list[bytes], msgspec.Meta(min_length=1, max_length=10_000)]


class SnapshotFrame(msgspec.Struct, frozen=True, tag="snapshot"):
    """The snapshot of the execution."""

    snapshot: bytes


class End(msgspec.Struct, frozen=True, tag="end"):
    """The end of the file, with the number of executions that are in it."""

    executions: int


Frame: TypeAlias = (
    Header | TableFrame | ExecutionFrame | PayloadFrame | RecordsFrame | SnapshotFrame | End
)
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Frame)


class FrameWriter:
    """Writes frames, compressed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=COMPRESSION, mtime=0)

    def add(self, frame: Frame) -> None:
        """Write a frame.

        Raises:
            StoreError: It is too long.
            OSError: The file cannot be written.
        """
        content = _encoder.encode(frame)
        if len(content) > MOST_FRAME_BYTES:
            raise StoreError(f"a value has more than {MOST_FRAME_BYTES:,} bytes")
        self._file.write(len(content).to_bytes(LENGTH_BYTES))
        self._file.write(content)

    def close(self) -> None:
        """Write what is still in memory; the file below stays open."""
        self._file.close()


class FrameReader:
    """Reads frames one by one.

    Attributes:
        header: The first frame.
        frames: How many frames were read.
        total_bytes: How many bytes they had.
    """

    def __init__(self, file: BinaryIO) -> None:
        """Read the header.

        Raises:
            StoreError: The file is no export, or of another form.
        """
        self._file = gzip.GzipFile(fileobj=file, mode="rb")
        self._given_back: Frame | None = None
        self.frames = 0
        self.total_bytes = 0
        first = self._next()
        if not isinstance(first, Header):
            raise StoreError("the file does not begin as an export of Rillflow does")
        if first.format != FORMAT:
            raise StoreError(
                f"the file has the form {first.format}, of release {first.release[:40]!r}, and this"
                f" release reads form {FORMAT}: import it with a release that knows it"
            )
        self.header = first

    def next(self) -> Frame:
        """Read the next frame.

        Raises:
            StoreError: The file is cut, damaged, or holds something else.
        """
        frame, self._given_back = self._given_back, None
        if frame is not None:
            return frame
        return self._next()

    def give_back(self, frame: Frame) -> None:
        """Have ``next`` return a frame once more."""
        self._given_back = frame

    def _next(self) -> Frame:
        try:
            length = int.from_bytes(b"".join(self._bytes(LENGTH_BYTES)))
            if not 0 < length <= MOST_FRAME_BYTES:
                raise self._wrong(f"a length of {length:,} bytes")
            content = b"".join(self._bytes(length))
            frame: Frame = _decoder.decode(content)
            self.frames += 1
            self.total_bytes += length
        except (msgspec.MsgspecError, RecursionError) as error:
            raise self._wrong(str(error)) from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise self._wrong(f"no compressed data ({error})") from error
        except EOFError as error:
            raise StoreError(f"the file is cut off after frame {self.frames}") from error
        return frame

    def _bytes(self, length: int) -> Iterator[bytes]:
        """Yield so many bytes; memory is taken only for what is there."""
        while length:
            part = self._file.read(min(length, _CHUNK_BYTES))
            if not part:
                raise EOFError
            length -= len(part)
            yield part

    def _wrong(self, what: str) -> StoreError:
        return StoreError(f"the file is no export, or damaged: frame {self.frames + 1} has {what}")
