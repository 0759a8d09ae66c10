"""Readiness is found out meanwhile: whoever asks hears the last answers, and waits for none."""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
from msgspec.structs import replace
from ray.exceptions import RayError

from rillflow.actors.execution_actor import _reasons
from rillflow.actors.readiness import (
    CONTROLLER_GONE,
    OTHER_STORE,
    RAYLET_GONE,
    ControllerCheck,
    GcsCheck,
    RayletCheck,
    _health_of,
    _warnings,
    _warnings_of,
    full_store,
    runs,
)
from rillflow.errors import StoreError
from rillflow.ports.cluster import ControllerReport
from rillflow.ports.deployment import Deployment
from rillflow.ports.readiness import (
    ARCHIVE_NOT_WRITTEN,
    CALLBACKS_UNREACHABLE,
    STORE_FULL,
    STORE_REFUSES_WRITES,
    STORE_UNREADABLE,
    Reason,
    decode_reasons,
    encode_reasons,
)
from rillflow.private_apis.ray_core.state import RAYLET_PID
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.process.readiness import Check, ReadinessWatch, reading, writing
from rillflow.settings import Settings
from rillflow.stores.memory.store import MemoryStore
from tests.deployments import FIRST

WANTED: Final = FIRST
SILENT: Final = Reason("silent", "it does not answer")
FULL: Final = Reason("full", "it is full")


class Asked:
    """A check that answers, fails or is silent as a test says."""

    def __init__(self) -> None:
        self.answer: Sequence[Reason] = ()
        self.error: Exception | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        self.questions = 0

    async def __call__(self) -> Sequence[Reason]:
        self.questions += 1
        await self.answers.wait()
        if self.error is not None:
            raise self.error
        return self.answer


@asynccontextmanager
async def _watching(*asked: Asked) -> AsyncIterator[ReadinessWatch]:
    checks = [Check(each, SILENT, pause_s=0.001) for each in asked]
    watch = ReadinessWatch(checks, patience_s=0.05)
    watch.start()
    try:
        yield watch
    finally:
        await watch.stop()


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - a watch tells only whoever asks
            await asyncio.sleep(0)


async def test_nothing_is_ready_before_it_has_been_found_to_be() -> None:
    async with _watching(Asked()) as watch:
        assert watch.reasons() == [SILENT]
        await _until(lambda: watch.reasons() == [])


async def test_each_answer_counts_until_the_next_and_the_same_reason_once() -> None:
    one, other = Asked(), Asked()
    async with _watching(one, other) as watch:
        await _until(lambda: watch.reasons() == [])
        one.answer = other.answer = [FULL]
        await _until(lambda: watch.reasons() == [FULL])
        one.answer = []
        questions = one.questions
        await _until(lambda: one.questions > questions + 1)
        assert watch.reasons() == [FULL]
        other.answer = []
        await _until(lambda: watch.reasons() == [])


async def test_an_error_is_the_reason_and_its_text_is_for_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = Asked()
    async with _watching(asked) as watch:
        await _until(lambda: watch.reasons() == [])
        asked.error = StoreError("/secret/place: disk is full")
        await _until(lambda: watch.reasons() == [SILENT])
        questions = asked.questions
        await _until(lambda: asked.questions > questions + 2)
    [told] = [record for record in caplog.records if record.message == "not_ready"]
    assert told.levelno == logging.WARNING
    assert told.__dict__["codes"] == ["silent"]
    assert told.__dict__["reason"] == "StoreError: /secret/place: disk is full"


async def test_who_stands_still_is_asked_once_and_missed_until_it_answers() -> None:
    asked = Asked()
    async with _watching(asked) as watch:
        await _until(lambda: watch.reasons() == [])
        asked.answers.clear()
        await _until(lambda: watch.reasons() == [SILENT])
        questions = asked.questions
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert asked.questions == questions
        asked.answers.set()
        await _until(lambda: watch.reasons() == [])


async def test_a_question_is_dropped_with_the_watch() -> None:
    asked = Asked()
    asked.answers.clear()
    async with _watching(asked):
        await _until(lambda: asked.questions == 1)
    assert {each.get_name() for each in asyncio.all_tasks()}.isdisjoint({"readiness"})


async def test_a_store_is_written_to_and_read() -> None:
    store = MemoryStore()
    await store.open()
    watch = ReadinessWatch([writing(store, pause_s=0.001), reading(store)])
    watch.start()
    await _until(lambda: watch.reasons() == [])
    await store.close()
    await _until(lambda: watch.reasons() == [STORE_REFUSES_WRITES, STORE_UNREADABLE])
    await watch.stop()


def test_reasons_travel_between_processes() -> None:
    assert decode_reasons(encode_reasons([SILENT, FULL])) == [SILENT, FULL]
    assert decode_reasons(encode_reasons([])) == []


def test_a_raylet_that_has_ended_is_missed_even_before_its_parent_notices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def found(check: RayletCheck) -> Sequence[Reason]:
        return await check()

    monkeypatch.delenv(RAYLET_PID, raising=False)
    assert asyncio.run(found(RayletCheck(nowhere))) == (), "this process has none"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        monkeypatch.setenv(RAYLET_PID, str(process.pid))
        with pytest.raises(LookupError):
            asyncio.run(found(RayletCheck(nowhere)))
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert asyncio.run(found(RayletCheck(nowhere))) == (RAYLET_GONE,)
    assert not runs(process.pid)
    assert runs(os.getpid())


async def test_a_disk_with_too_little_space_is_a_warning(tmp_path: Path) -> None:
    full = Settings(data_dir=tmp_path, store_min_free_bytes=1 << 60)
    assert await full_store(full, SystemClock()).ask() == (STORE_FULL,)
    for settings in (
        Settings(data_dir=tmp_path, store_min_free_bytes=1),
        Settings(data_dir=tmp_path / "not there", store_min_free_bytes=1 << 60),
        Settings(store="postgresql://elsewhere/db", store_min_free_bytes=1 << 60),
    ):
        assert await full_store(settings, SystemClock()).ask() == ()
    codes = [check.silent.code for check in _warnings(full)]
    assert STORE_FULL.code in codes


async def test_an_archive_that_is_not_written_is_a_warning_of_an_owner() -> None:
    retention = SimpleNamespace(archive_error="")
    health = SimpleNamespace(reasons=lambda: [STORE_REFUSES_WRITES])
    owner: Any = SimpleNamespace(_unreachable="http://here", _retention=retention, _health=health)

    class Owner:
        async def call(self, _: bytes) -> bytes:
            return encode_reasons(_reasons(owner))

    peer: Any = Owner()
    assert await _warnings_of(peer)() == [CALLBACKS_UNREACHABLE]
    retention.archive_error = "No space left on device"
    assert await _warnings_of(peer)() == [CALLBACKS_UNREACHABLE, ARCHIVE_NOT_WRITTEN]
    owner._unreachable = ""
    assert await _warnings_of(peer)() == [ARCHIVE_NOT_WRITTEN]
    assert await _health_of(peer)() == [STORE_REFUSES_WRITES]
    owner._retention = None
    assert await _warnings_of(peer)() == []


async def test_a_warning_is_told_apart_and_keeps_nothing_from_being_ready() -> None:
    ready, warned = Asked(), Asked()
    warned.answer = (FULL,)
    watch = ReadinessWatch(
        [Check(ready, SILENT, pause_s=0.001)], warnings=[Check(warned, SILENT, pause_s=0.001)]
    )
    watch.start()
    try:
        await _until(lambda: not watch.reasons() and watch.warnings() == [FULL])
        warned.answer = ()
        await _until(lambda: not watch.warnings())
    finally:
        await watch.stop()


async def test_a_replica_on_another_store_than_that_of_the_controller_is_not_ready() -> None:
    store = MemoryStore()
    await store.open()
    told: list[ControllerReport | None] = [None]

    async def ask(_: Settings) -> ControllerReport | None:
        return told[-1]

    check = ControllerCheck(Settings(), store, ask)
    assert await check() == (CONTROLLER_GONE,)
    assert await check.other_store() == (), "nobody knows yet"
    told.append(_report(WANTED))
    assert await check() == [FULL]
    assert await check.other_store() == (), "nothing was deployed on this store yet"
    assert await store.set_deployment(WANTED, after_version=0)
    for store_id, found in (("s", ()), ("t", (OTHER_STORE,)), ("s", ())):
        told.append(_report(replace(WANTED, store_id=store_id)))
        await check()
        assert await check.other_store() == found
        told.append(None)
        await check()
        assert await check.other_store() == found, "what is known stays so"


def _report(wanted: Deployment) -> ControllerReport:
    return ControllerReport(node="n", pid=1, wanted=wanted, reasons=[FULL], steps=0, restarts={})


def nowhere() -> tuple[str, int]:
    raise LookupError


class Raylet:
    """One that is asked as Ray's client is, and answers as a test says."""

    def __init__(self) -> None:
        self.is_stopped = False

    async def ask(self, _timeout_s: float) -> None:
        if self.is_stopped:
            raise TimeoutError


async def test_a_raylet_that_is_stopped_is_missed_when_it_has_been_asked_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(RAYLET_PID, str(os.getpid()))
    raylet = Raylet()
    with socket.create_server(("127.0.0.1", 0)) as server:
        check = RayletCheck(server.getsockname, lambda *_: raylet)
        assert await check() == ()
        raylet.is_stopped = True
        assert await check() == ()
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await check()
        raylet.is_stopped = False
        assert await check() == ()


async def test_a_raylet_that_takes_connections_and_says_nothing_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(RAYLET_PID, str(os.getpid()))
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(RayError):
        await RayletCheck(server.getsockname)()


class SlowGcs:
    """A GCS that listens, and answers as a test says."""

    def __init__(self, server: socket.socket) -> None:
        self.is_slow = False
        self._port = server.getsockname()[1]

    def ask(self, _timeout_s: float) -> None:
        if self.is_slow:
            raise TimeoutError

    def address(self) -> str:
        return f"127.0.0.1:{self._port}"


async def test_one_slow_answer_of_the_gcs_is_no_death_and_two_in_a_row_are() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        gcs = SlowGcs(server)
        check = GcsCheck(gcs.ask, gcs.address)
        for _ in range(2):
            gcs.is_slow = False
            assert await check() == ()
            gcs.is_slow = True
            assert await check() == ()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await check()


async def test_a_gcs_that_takes_no_connections_is_gone_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        gcs = SlowGcs(server)
        check = GcsCheck(gcs.ask, gcs.address)
        assert await check() == ()
        gcs.is_slow = True
    with pytest.raises(TimeoutError):
        await check()


async def test_a_gcs_that_has_never_answered_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        gcs = SlowGcs(server)
        gcs.is_slow = True
        with pytest.raises(TimeoutError):
            await GcsCheck(gcs.ask, gcs.address)()
