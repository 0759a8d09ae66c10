"""A file of the archive has whole lines only, also after a full disk or a crash."""

from pathlib import Path

import pytest

from rillflow.stores.archive import Archive
from tests.full_disk import ROOM_BYTES, full_disk
from tests.loopback import NOW_MS

DAY_MS = 86_400_000


async def test_the_rest_of_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    await archive.append([b'{"n": 1}'], at_ms=NOW_MS)
    [file] = tmp_path.iterdir()  # noqa: ASYNC240 - nothing else waits
    for torn in (b'{"n": 2', b'{"n": "' + b"x" * 200_000):
        with file.open("ab") as written:
            written.write(torn)
        await archive.append([b'{"n": 3}'], at_ms=NOW_MS)
    assert file.read_bytes().split(b"\n") == [b'{"n": 1}', b'{"n": 3}', b'{"n": 3}', b""]


async def test_lines_that_were_torn_on_another_day_are_cut_off_at_the_next_start(
    tmp_path: Path,
) -> None:
    await Archive(tmp_path).append([b"1", b"2"], at_ms=NOW_MS)
    [file] = tmp_path.iterdir()  # noqa: ASYNC240 - nothing else waits
    whole = file.read_bytes()
    file.write_bytes(whole + b"3")
    others = [tmp_path / "executions-2026-01-31.txt", tmp_path / "notes"]
    for other in others:
        other.write_bytes(b"somebody else's")
    (tmp_path / "executions-2020-01-31.jsonl").write_bytes(b"x" * 100_000)
    await Archive(tmp_path).append([b"3"], at_ms=NOW_MS + DAY_MS)
    assert file.read_bytes() == whole
    assert [other.read_bytes() for other in others] == [b"somebody else's"] * 2
    assert (tmp_path / "executions-2020-01-31.jsonl").read_bytes() == b""


async def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    other, folder = tmp_path / "other", tmp_path / "archive"
    other.write_bytes(b"somebody else's")
    folder.mkdir()
    await Archive(folder).append([b"1"], at_ms=NOW_MS)
    [file] = folder.iterdir()
    file.unlink()
    for link in (file, folder / "executions-2020-01-31.jsonl"):
        link.symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        await Archive(folder).append([b"2"], at_ms=NOW_MS)
    assert other.read_bytes() == b"somebody else's"
    file.unlink()
    await Archive(folder).append([b"2"], at_ms=NOW_MS)
    assert file.read_bytes() == b"2\n"


async def test_lines_that_could_not_all_be_written_are_taken_back(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    await archive.append([b"1"], at_ms=NOW_MS)
    [file] = tmp_path.iterdir()  # noqa: ASYNC240 - nothing else waits
    with full_disk(), pytest.raises(OSError, match="File too large"):
        await archive.append([b"x" * (ROOM_BYTES // 2)] * 3, at_ms=NOW_MS)
    assert file.read_bytes() == b"1\n"
    await archive.append([b"2"], at_ms=NOW_MS)
    assert file.read_bytes() == b"1\n2\n"


async def test_nothing_is_written_where_the_room_is_refused(tmp_path: Path) -> None:
    asked: list[tuple[Path, int]] = []

    def require(folder: Path, more_bytes: int) -> None:
        asked.append((folder, more_bytes))
        raise OSError("there is no room")

    with pytest.raises(OSError, match="no room"):
        await Archive(tmp_path / "new", require).append([b"12", b"3"], at_ms=NOW_MS)
    assert asked == [(tmp_path / "new", 5)]
    assert list((tmp_path / "new").iterdir()) == []
