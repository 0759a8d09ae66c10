"""A file of whatever origin is refused with its place, and nothing half of it is imported."""

import gzip
import hashlib
import io
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from rillflow.core.encoding.codec import check_event, check_state
from rillflow.errors import StoreError
from rillflow.ids import listing_partition, new_execution_id
from rillflow.stores.transfer.rows import ExecutionRow, MovedExecution
from rillflow.stores.transfer.tables import TABLES, TRIGGERS
from rillflow.transfer.frames import (
    End,
    ExecutionFrame,
    Frame,
    FrameReader,
    FrameWriter,
    Header,
    PayloadFrame,
    RecordsFrame,
    SnapshotFrame,
    TableFrame,
)
from tests.api.definition_texts import SUSPENDED, calling
from tests.api.moving import (
    executions_in,
    exported,
    fill_ended,
    frames_of,
    imported,
    refused,
    source,
)
from tests.contract.tables import run_sql
from tests.unit.commands import run

HEADER: Final = Header(format=1, release="0", exported_at_ms=0)
ID: Final = new_execution_id("shop", "order", at_ms=1, entropy=bytes(10))
TEXT: Final = "tasks: []"
JOURNAL: Final = """
SELECT seq, record FROM journal JOIN executions ON execution = key WHERE execution_id = '{}'
"""


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def row_of(**changes: Any) -> ExecutionRow:
    fields: dict[str, Any] = {
        "execution_id": ID,
        "business": "shop",
        "feature": "order",
        "partition": listing_partition(ID),
        "definition_id": "0" * 32,
        "submitted_at_ms": 1,
        "dedicated": False,
        "parent_id": None,
        "idempotency_key": None,
        "request_digest": None,
        "status": "running",
        "code": None,
        "finished_at_ms": None,
        "rests": False,
    }
    return ExecutionRow(**fields | changes)


def execution(last_seq: int = 1, snapshot_seq: int = 0, **changes: Any) -> ExecutionFrame:
    moved = MovedExecution(row=row_of(**changes), last_seq=last_seq, snapshot_seq=snapshot_seq)
    return ExecutionFrame(moved)


def written(*frames: Frame) -> bytes:
    file = io.BytesIO()
    writer = FrameWriter(file)
    for frame in frames:
        writer.add(frame)
    writer.close()
    return file.getvalue()


def packed(*contents: bytes) -> bytes:
    """Frames whose content is not what it should be."""
    return gzip.compress(b"".join(len(each).to_bytes(4) + each for each in contents))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "cut off"),
        (b"plain text", "no compressed data"),
        (gzip.compress(b""), "cut off"),
        (gzip.compress(bytes(1 << 20)), "a length of 0 bytes"),
        (gzip.compress(b"\xff" * 1_000), "a length of 4,294,967,295 bytes"),
        (packed(b"\xc1"), "frame 1"),
        (packed(b"\x91" * 100_000), "frame 1"),
        (packed(msgspec.msgpack.encode({"type": "header", "format": "1"})), "frame 1"),
        (packed(msgspec.msgpack.encode({"type": "other"})), "frame 1"),
        (written(End(0)), "does not begin as an export"),
        (written(Header(format=2, release="9.0", exported_at_ms=0)), "reads form 1"),
        (written(HEADER), "cut off after frame 1"),
        (written(HEADER, HEADER), "outside of one"),
        (written(HEADER, End(1)), "has 0 executions, and says 1"),
        (written(HEADER, RecordsFrame([b"x"])), "outside of one"),
        (written(HEADER, SnapshotFrame(b"x")), "outside of one"),
        (written(HEADER, TableFrame("epochs", [(1,)])), "of the table 'epochs'"),
        (written(HEADER, TableFrame("names", [])), "of the table 'names'"),
        (written(HEADER, TableFrame("names", [("a", "b")])), "no rows like"),
        (written(HEADER, TableFrame("names", [("a", "b", 1)])), "no rows like"),
        (written(HEADER, TableFrame("triggers", [("a",) * 12])), "no rows like"),
        (written(HEADER, TableFrame("definitions", [("0" * 32, TEXT)])), "another text"),
        (written(HEADER, TableFrame("definitions", [(md5(TEXT), TEXT)])), "cannot be read"),
        (written(HEADER, execution(execution_id="../x")), "no id of an execution"),
        (written(HEADER, execution(partition=999)), "not of the partition 999"),
        (written(HEADER, execution(business="others")), "none of the workflow 'others':'order'"),
        (written(HEADER, execution(feature="others")), "none of the workflow 'shop':'others'"),
        (written(HEADER, execution(status="odd")), "no status"),
        (written(HEADER, execution(parent_id="x")), "its parent"),
        (written(HEADER, execution(last_seq=0)), "it has 0 records"),
        (written(HEADER, execution(snapshot_seq=2)), "a snapshot of record 2"),
        (written(HEADER, execution()), "its definition is not in the file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_file_that_is_no_export_is_refused_with_the_place(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path, there = tmp_path / "file", f"sqlite://{tmp_path}/there/rillflow.db"
    path.write_bytes(content)
    error = await refused(there, path)
    assert reason in error
    assert len(error) < 1_000
    if (tmp_path / "there").exists():
        assert await executions_in(there) == 0


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([execution()], "cut off"),
        ([execution(), End(1)], "record 1 of 1 is missing"),
        ([execution(), RecordsFrame([b"x"])], "record 1 cannot be read"),
        ([execution(), RecordsFrame([b"\xfe\xc1"])], "record 1 cannot be read"),
        ([execution(), RecordsFrame([b"\xfe" + b"\x91" * 10_000])], "record 1 cannot be read"),
        ([execution(), RecordsFrame([b""])], "record 1 cannot be read"),
        (
            [execution(), PayloadFrame(b"1" * 32, in_record=True, value=b"x")],
            "not that of its SHA-256",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_an_execution_that_cannot_go_on_is_refused_with_the_record(
    ended_url: str, tmp_path: Path, frames: list[Frame], reason: str
) -> None:
    path, there = tmp_path / "file", f"sqlite://{tmp_path}/there/rillflow.db"
    await exported(ended_url, tmp_path / "all")
    text = next(
        frame
        for frame in frames_of(tmp_path / "all")
        if isinstance(frame, TableFrame) and frame.table == "definitions"
    )
    definition_id = str(text.rows[0][0])
    changed = [
        execution(definition_id=definition_id) if isinstance(frame, ExecutionFrame) else frame
        for frame in frames
    ]
    path.write_bytes(written(HEADER, text, *changed))
    error = await refused(there, path)
    assert reason in error
    assert await executions_in(there) == 0


def test_a_length_that_is_not_there_takes_no_memory() -> None:
    content = gzip.compress((200 << 20).to_bytes(4) + b"x" * 1_000)
    tracemalloc.start()
    with pytest.raises(StoreError, match="cut off"):
        FrameReader(io.BytesIO(content))
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < 8 << 20


async def test_a_file_that_is_cut_anywhere_is_told_and_nothing_half_is_written(
    ended_url: str, tmp_path: Path
) -> None:
    path, cut = tmp_path / "all", tmp_path / "cut"
    await exported(ended_url, path)
    content = gzip.decompress(path.read_bytes())
    for number in range(1, 8):
        cut.write_bytes(gzip.compress(content[: len(content) * number // 8]))
        there = f"sqlite://{tmp_path}/{number}/rillflow.db"
        error = await refused(there, cut)
        assert "cut off" in error, error
        assert "nothing was imported" in error
        assert await executions_in(there) == 0
    cut.write_bytes(path.read_bytes()[:-20])
    assert "cut off" in await refused(f"sqlite://{tmp_path}/9/rillflow.db", cut)


@pytest.fixture(name="ended_url")
async def _ended_url(tmp_path: Path) -> str:
    return await fill_ended(f"sqlite://{tmp_path}/source/rillflow.db")


def test_a_row_of_many_columns_is_refused_before_it_is_read() -> None:
    columns = 20_000_000
    row = b"\xdd" + columns.to_bytes(4) + b"\xc0" * columns
    frame = b"\x83\xa4type\xa5table\xa5table\xa8triggers\xa4rows\x91" + row
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        for content in (msgspec.msgpack.encode(HEADER), frame):
            file.write(len(content).to_bytes(4) + content)
    reader = FrameReader(io.BytesIO(packed.getvalue()))
    tracemalloc.start()
    with pytest.raises(StoreError, match="frame 2 has Expected `array` of length <= 40"):
        reader.next()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 4 * len(frame)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for command in (("import", str(pipe)), ("export", str(tmp_path / "x"), "--since", str(pipe))):
        code, _, errors = run(*command, "--store", f"sqlite:///{tmp_path}/s.db")
        assert (code, "is not a file; for a pipe say -" in errors) == (1, True), errors


@pytest.mark.parametrize("check", [check_state, check_event])
def test_a_part_of_an_execution_is_checked_in_little_memory(check: Callable[[bytes], None]) -> None:
    head = b'{"execution_id":"a:b_c_1","definition_id":"x","host":"h","context":{"a":['
    values: dict[object, bytes] = {check_state: head + b",".join([b"{}"] * 1_000_000) + b"]}}"}
    values[check_event] = b"\x92\xa1x\xdd" + (3_000_000).to_bytes(4) + b"\x80" * 3_000_000
    part = b"\x01" + values[check]
    tracemalloc.start()
    check(part)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2 * len(part)
    for damaged in (part[:-5], b"\x07" + part[1:], part + b"x"):
        with pytest.raises(StoreError, match="cannot"):
            check(damaged)


def trigger(**changes: Any) -> TableFrame:
    """Return a frame with the row of a trigger."""
    row: dict[str, Any] = dict.fromkeys(TABLES[TRIGGERS].names, 0) | {
        "id": "nightly",
        "type": "cron",
        "descriptor_id": "shop:order",
        "owner": "",
        "spec": '{"cron":"* * * * *"}',
        "is_paused": False,
        "is_removed": False,
        "progress": "{}",
        "context": "",
    }
    return TableFrame(TRIGGERS, [tuple((row | changes).values())])


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"id": "../x y"},
        {"type": "kafka"},
        {"descriptor_id": "shop"},
        {"spec": "{"},
        {"spec": "{}"},
        {"spec": '{"cron":"* * * * *","catch_up":1000000000}'},
        {"spec": '{"cron":"* * * * *","jitter_s":1e300}'},
        {"spec": '{"cron":"* * * * *","start_ms":9000000000000000000}'},
        {"spec": '{"cron":"* * * * *","time_zone":"Nowhere/Land"}'},
        {"spec": '{"config":{"brokers":["k:1"],"topic":"../t"}}', "type": "kafka"},
        {"spec": '{"config":{"secret":"plain"}}', "type": "webhook"},
        {"spec": '{"config":"x"}', "type": "kafka"},
        {"context": "["},
        {"context": "[]"},
        {"position_ms": 1 << 62},
        {"position_ms": -1},
        {"created_at_ms": 1 << 62},
    ],
    ids=str,
)
async def test_a_trigger_that_no_server_stores_is_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    path, there = tmp_path / "file", f"sqlite://{tmp_path}/there/rillflow.db"
    path.write_bytes(written(HEADER, trigger(**changes), End(0)))
    assert "is none that a server stores" in await refused(there, path)
    assert await run_sql(there, "SELECT count(*) FROM triggers") == [(0,)]


async def test_triggers_of_all_types_are_imported(tmp_path: Path) -> None:
    """Their settings are checked as they are stored, not as they are written."""
    url, there = (f"sqlite://{tmp_path}/{name}/rillflow.db" for name in ("here", "there"))
    settings = {
        "cron": "0 0 12 * * *",
        "kafka": {"brokers": "k:9092, [::1]", "topic": "t", "mapping": {"a": "$.key"}},
        "webhook": {"signature": "github", "secret": "${secret:HOOK}"},
    }
    async with source(url) as (api, _):
        await api.add(calling("echo"))
        for kind, given in settings.items():
            new = {"id": f"of-{kind}", "descriptor_id": "shop:order", kind: given}
            await api.post("/flow/triggers/add.json", new | {"context": {"a": 1}})
        await api.post("/flow/triggers/add.json", new | {"id": "gone"})
        await api.post("/flow/triggers/remove.json", trigger_id="gone")
    await exported(url, tmp_path / "all")
    await imported(there, tmp_path / "all")
    found = "SELECT id, type, spec, context FROM triggers ORDER BY id"
    assert await run_sql(there, found) == await run_sql(url, found)


async def test_what_is_of_another_execution_never_takes_its_place(tmp_path: Path) -> None:
    """It would be read for the one, and handled and written as the other."""
    url, path = f"sqlite://{tmp_path}/here/rillflow.db", tmp_path / "all"
    async with source(url) as (api, _):
        other = await api.submit(await api.add(SUSPENDED))
    await exported(url, path)
    frames = [
        execution(last_seq=each.execution.last_seq, definition_id=each.execution.row.definition_id)
        if isinstance(each, ExecutionFrame)
        else each
        for each in frames_of(path)
    ]
    path.write_bytes(written(HEADER, *frames))
    await imported(url, path)
    before = await run_sql(url, JOURNAL.format(other))
    async with source(url) as (api, _):
        forged = await api.client.get("/flow/get.json", params={"execution_id": ID})
        assert "the journal is of another execution" in forged.text
        woken = {"execution_id": ID, "task_name": "wait"}
        assert (await api.client.post("/flow/wakeup.json", params=woken)).is_error
        shown = await api.get("/flow/get.json", execution_id=other)
        assert shown["ret"]["execution_id"] == other
    assert await run_sql(url, JOURNAL.format(other)) == before
