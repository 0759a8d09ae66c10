"""A large execution that is read and has left memory again leaves nothing behind.

The collector runs seldom in an actor (``gc_tuning.py``), so what is in a circle stays for long. The
test runs without it.
"""

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from rillflow.errors import LargeExecutionError, NotReadyError
from rillflow.ids import ExecutionId
from rillflow.ports.executions import Query
from rillflow.ports.gateway import DispatchAnswer, DispatchRequest
from rillflow.runtime.definitions.catalogue import add_descriptor
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.submission.intake import Options, Submissions
from rillflow.settings import Settings
from rillflow.stores import open_store

LONG_S: Final = 60
MEBIBYTE: Final = 1 << 20
ANSWER: Final = b'{"a":"' + b"x" * (2 * MEBIBYTE) + b'"}'
FEW_BYTES: Final = MEBIBYTE
REFUSALS: Final = (LargeExecutionError, NotReadyError)
CALL: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - { name: one, category: function, pattern: task_sync, resourceName: "http://127.0.0.1:1/one" }
"""


class LargeFunction:
    async def call(self, request: DispatchRequest) -> DispatchAnswer:
        return DispatchAnswer(
            execution_id=request.execution_id,
            task=request.task,
            attempt=request.attempt,
            body=ANSWER,
        )

    async def close(self) -> None:
        """Nothing is open."""


@contextmanager
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def read(life: LocalExecutions, execution_id: ExecutionId) -> None:
    """Read an execution as a caller does: first with others, then where it may take long."""
    query = Query(execution_id=execution_id, kind="summary")
    [reply] = await life.host.call_ready([query])
    if reply.error is not None:
        assert reply.kind == NotReadyError.code
        [reply] = await life.host.call_many([query])
    assert reply.body


@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
async def test_what_was_read_is_not_kept(tmp_path: Path, scheme: str) -> None:
    store = open_store(f"sqlite:///{tmp_path}/flow.db" if scheme == "sqlite" else "memory:")
    await store.open()
    await add_descriptor(store, "shop", "order", "release", CALL, at_ms=1)
    clock = SystemClock()
    # An ended execution leaves when the next one is read.
    life = LocalExecutions(store=store, gateway=LargeFunction(), clock=clock, hot_bytes=MEBIBYTE)
    await life.start()
    submissions = Submissions(Settings(), store=store, executions=life, clock=clock)
    async with asyncio.timeout(LONG_S):
        ids = [await submissions.submit("shop:order", b"{}", Options()) for _ in range(2)]
        for each in ids:
            assert await life.wait(each, LONG_S)
        for each in ids * 2:
            await read(life, each)
        tracemalloc.start()
        try:
            with without_collector():
                for each in ids:
                    await read(life, each)
                before_bytes, _ = tracemalloc.get_traced_memory()
                for each in ids * 4:
                    await read(life, each)
                after_bytes, _ = tracemalloc.get_traced_memory()
                left = [each for each in gc.get_objects() if isinstance(each, REFUSALS)]
        finally:
            tracemalloc.stop()
    assert after_bytes - before_bytes < FEW_BYTES
    assert not left
    await life.stop()
    await store.close()


async def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/flow.db")
    await store.open()
    await add_descriptor(store, "shop", "order", "release", CALL, at_ms=1)
    clock = SystemClock()
    life = LocalExecutions(store=store, gateway=LargeFunction(), clock=clock)
    await life.start()
    submissions = Submissions(Settings(), store=store, executions=life, clock=clock)
    async with asyncio.timeout(LONG_S):
        execution_id = await submissions.submit("shop:order", b"{}", Options())
        assert await life.wait(execution_id, LONG_S)
    await life.stop()
    tracemalloc.start()
    try:
        with pytest.raises(LargeExecutionError):
            await store.load(execution_id, MEBIBYTE)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < FEW_BYTES
    stored = await store.load(execution_id, 3 * MEBIBYTE)
    assert stored is not None
    assert ANSWER in b"".join((*stored.records, stored.snapshot or b"")), "what fits is read"
    await store.close()
