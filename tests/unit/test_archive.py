"""A file of the archive has whole lines only, also after a full disk or a crash."""

import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from rillflow.core.encoding.codec import encode_large_state, encode_state, snapshot_text
from rillflow.core.state import ExecutionState
from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import ExecutionSummary, StoredExecution
from rillflow.stores.archive import WRITE_BYTES, Archive, archive_line
from tests.full_disk import ROOM_BYTES, full_disk
from tests.loopback import NOW_MS

DAY_MS = 86_400_000


async def test_the_rest_of_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    await archive.append([[b'{"n": 1}']], at_ms=NOW_MS)
    [file] = tmp_path.iterdir()  # noqa: ASYNC240 - nothing else waits
    for torn in (b'{"n": 2', b'{"n": "' + b"x" * 200_000):
        with file.open("ab") as written:
            written.write(torn)
        await archive.append([[b'{"n": 3}']], at_ms=NOW_MS)
    assert file.read_bytes().split(b"\n") == [b'{"n": 1}', b'{"n": 3}', b'{"n": 3}', b""]


async def test_lines_that_were_torn_on_another_day_are_cut_off_at_the_next_start(
    tmp_path: Path,
) -> None:
    await Archive(tmp_path).append([[b"1"], [b"2"]], at_ms=NOW_MS)
    [file] = tmp_path.iterdir()  # noqa: ASYNC240 - nothing else waits
    whole = file.read_bytes()
    file.write_bytes(whole + b"3")
    others = [tmp_path / "executions-2026-01-31.txt", tmp_path / "notes"]
    for other in others:
        other.write_bytes(b"somebody else's")
    (tmp_path / "executions-2020-01-31.jsonl").write_bytes(b"x" * 100_000)
    await Archive(tmp_path).append([[b"3"]], at_ms=NOW_MS + DAY_MS)
    assert file.read_bytes() == whole
    assert [other.read_bytes() for other in others] == [b"somebody else's"] * 2
    assert (tmp_path / "executions-2020-01-31.jsonl").read_bytes() == b""


async def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    other, folder = tmp_path / "other", tmp_path / "archive"
    other.write_bytes(b"somebody else's")
    folder.mkdir()
    await Archive(folder).append([[b"1"]], at_ms=NOW_MS)
    [file] = folder.iterdir()
    file.unlink()
    for link in (file, folder / "executions-2020-01-31.jsonl"):
        link.symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        await Archive(folder).append([[b"2"]], at_ms=NOW_MS)
    assert other.read_bytes() == b"somebody else's"
    file.unlink()
    await Archive(folder).append([[b"2"]], at_ms=NOW_MS)
    assert file.read_bytes() == b"2\n"


async def test_lines_that_could_not_all_be_written_are_taken_back(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    await archive.append([[b"1"]], at_ms=NOW_MS)
    [file] = tmp_path.iterdir()  # noqa: ASYNC240 - nothing else waits
    with full_disk(), pytest.raises(OSError, match="File too large"):
        await archive.append([[b"x" * (ROOM_BYTES // 2)]] * 3, at_ms=NOW_MS)
    assert file.read_bytes() == b"1\n"
    await archive.append([[b"2"]], at_ms=NOW_MS)
    assert file.read_bytes() == b"1\n2\n"


async def test_nothing_is_written_where_the_room_is_refused(tmp_path: Path) -> None:
    asked: list[tuple[Path, int]] = []

    def require(folder: Path, more_bytes: int) -> None:
        asked.append((folder, more_bytes))
        raise OSError("there is no room")

    with pytest.raises(OSError, match="no room"):
        await Archive(tmp_path / "new", require).append([[b"1", b"2"], [b"3"]], at_ms=NOW_MS)
    assert asked == [(tmp_path / "new", 5)]
    assert list((tmp_path / "new").iterdir()) == []


SUMMARY = ExecutionSummary(
    execution_id=ExecutionId("shop:order_c_1"),
    business="shop",
    feature="order",
    status="succeed",
    code=None,
    submitted_at_ms=1,
    finished_at_ms=2,
)


def stored(snapshot: bytes | None, *records: bytes) -> StoredExecution:
    return StoredExecution(
        execution_id=SUMMARY.execution_id,
        business="shop",
        feature="order",
        listing_partition=0,
        definition_id="d",
        submitted_at_ms=1,
        dedicated=False,
        parent_id=None,
        status="succeed",
        rests=False,
        snapshot=snapshot,
        snapshot_seq=0,
        records=records,
    )


def state(*texts: str) -> ExecutionState:
    made_bytes = sum(map(len, texts))
    return ExecutionState(
        execution_id=SUMMARY.execution_id,
        definition_id="d",
        host="h",
        context={f"t{number}": text for number, text in enumerate(texts)},
        made_bytes=made_bytes,
    )


@pytest.mark.parametrize("records", [(), (b"",), (b"\x01a", b"xyz" * 100_001, b"z" * 400_000)])
@pytest.mark.parametrize("kind", ["none", "small", "shared"])
def test_a_line_in_parts_is_the_json_of_all_fields(kind: str, records: tuple[bytes, ...]) -> None:
    text = "ä\t" * 400_000
    snapshots = {
        "none": None,
        "small": encode_state(state("a", "b")),
        "shared": encode_large_state(state(text, text)),
    }
    snapshot = snapshots[kind]
    fields = {
        **msgspec.structs.asdict(SUMMARY),
        "definition_id": "d",
        "parent_id": None,
        "state": None if snapshot is None else msgspec.Raw(snapshot_text(snapshot)),
        "records": records,
    }
    line = b"".join(archive_line(SUMMARY, stored(snapshot, *records)))
    assert line == msgspec.json.encode(fields)


async def test_a_large_line_is_made_in_a_thread_a_megabyte_at_a_time(tmp_path: Path) -> None:
    large = stored(b"\x01" + b'"%b"' % (b"x" * 24_000_000), b"r" * 6_000_000)
    asked, threads = list[int](), set[int]()

    def require(_: Path, more_bytes: int) -> None:
        asked.append(more_bytes)

    def line() -> Iterator[bytes | memoryview]:
        for part in archive_line(SUMMARY, large):
            threads.add(threading.get_ident())
            yield part

    tracemalloc.start()
    try:
        await Archive(tmp_path, require).append([line()], at_ms=NOW_MS)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(asked) > 30
    assert max(asked) < 2 * WRITE_BYTES
    assert peak_bytes < 8 * WRITE_BYTES, "of a line of 32 megabytes"
    assert threading.get_ident() not in threads
    [file] = tmp_path.iterdir()  # noqa: ASYNC240 - nothing else waits
    assert file.read_bytes() == b"".join(archive_line(SUMMARY, large)) + b"\n"


async def test_a_line_that_could_not_be_made_to_its_end_is_taken_back(tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x" * (2 * WRITE_BYTES)
        raise LookupError("a value is missing")

    archive = Archive(tmp_path)
    await archive.append([[b"1"]], at_ms=NOW_MS)
    with pytest.raises(LookupError):
        await archive.append([broken()], at_ms=NOW_MS)
    await archive.append([[b"2"]], at_ms=NOW_MS)
    [file] = tmp_path.iterdir()  # noqa: ASYNC240 - nothing else waits
    assert file.read_bytes() == b"1\n2\n"
