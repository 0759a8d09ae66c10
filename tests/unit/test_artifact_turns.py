"""Nobody waits for artifacts of others: workspaces take turns, and views list no folder twice."""

import asyncio
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, Final

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from rillflow.artifacts.addresses import ArtifactSettings
from rillflow.artifacts.calls import ArtifactAccess
from rillflow.artifacts.execution_totals import EACH_S, MOST_KNOWN, ExecutionTotal, ExecutionTotals
from rillflow.artifacts.store import execution_key
from rillflow.errors import OverloadedError
from rillflow.jsontypes import decode_json, encode_json
from rillflow.ray_tasks.caller import Caller, CallInput
from rillflow.runtime.artifacts import Artifacts
from tests.unit import test_artifact_inputs as inputs

PROTOCOL: Final = "gatedmemory"
WAIT_S: Final = 20.0
SHOWN: Final = b'{"ret":{}}'
MANY: Final = 20


class GatedMemory(MemoryFileSystem):  # type: ignore[misc] # fsspec has no types
    """A store in memory that notes which folders are listed, and may keep who asks waiting."""

    protocol = PROTOCOL
    listed: ClassVar[list[str]] = []
    gates: ClassVar[dict[str, threading.Event]] = {}
    """What part of a path waits for what."""
    fails: ClassVar[bool] = False

    def ls(self, path: str, *given: Any, **options: Any) -> Any:
        """List a folder."""
        self._wait(path)
        self.listed.append("/".join(path.rstrip("/").split("/")[-2:]))
        if self.fails:
            raise PermissionError("the store fails")
        return super().ls(path, *given, **options)

    def exists(self, path: str, **options: Any) -> bool:
        """Tell whether there is a file."""
        self._wait(path)
        return bool(super().exists(path, **options))

    def _wait(self, path: str) -> None:
        for part, gate in self.gates.items():
            if part in path:
                gate.wait(WAIT_S)


fsspec.register_implementation(PROTOCOL, GatedMemory, clobber=True)


@pytest.fixture(name="gate")
def _gate() -> Iterator[Callable[[str], threading.Event]]:
    """Return what closes a gate; all are opened in the end."""
    GatedMemory.listed.clear()
    GatedMemory.fails = False

    def closed(part: str) -> threading.Event:
        GatedMemory.gates[part] = threading.Event()
        return GatedMemory.gates[part]

    yield closed
    for each in GatedMemory.gates.values():
        each.set()
    GatedMemory.gates.clear()
    GatedMemory.fails = False


@pytest.fixture(name="settings")
def _settings(gate: Callable[[str], threading.Event]) -> ArtifactSettings:
    del gate
    url = f"{PROTOCOL}://{uuid.uuid4().hex}"
    return ArtifactSettings(url, 1_000, 9_000, base_url="http://127.0.0.1", secrets=("s",))


def executions_of(workspace: str, count: int = MANY) -> list[str]:
    return [f"{workspace}:film_c_{number}" for number in range(count)]


def marks_of(execution_id: str) -> str:
    return f"executions/{execution_key(execution_id)}"


def facts_of(shown: bytes) -> Any:
    return decode_json(shown).get("artifacts")  # type: ignore[union-attr] # it is an object


async def begun(ahead: int) -> None:
    """Let tasks that were made just now come to where they wait."""
    for _ in range(ahead):
        await asyncio.sleep(0)


async def test_views_of_a_workspace_wait_for_one_count_of_each_other_one(
    settings: ArtifactSettings, gate: Callable[[str], threading.Event]
) -> None:
    artifacts, [own] = Artifacts(settings), executions_of("shop", 1)
    many = executions_of("demo")
    first = gate(execution_key(many[0]))
    views = [asyncio.create_task(artifacts.counted(each, SHOWN)) for each in many]
    await begun(3)
    views.append(asyncio.create_task(artifacts.counted(own, SHOWN)))
    await begun(3)
    first.set()
    async with asyncio.timeout(WAIT_S):
        shown = await asyncio.gather(*views)
    assert [facts_of(each) for each in shown] == [{"count": 0, "bytes": 0}] * (MANY + 1)
    assert GatedMemory.listed.index(marks_of(own)) <= 2


async def test_views_of_an_execution_list_its_artifacts_once_together_and_none_while_it_is_known(
    settings: ArtifactSettings,
) -> None:
    artifacts, [execution_id] = Artifacts(settings), executions_of("demo", 1)
    now_s = 0.0
    artifacts.store.totals._clock_s = lambda: now_s
    inputs.stored(settings, execution_id)
    GatedMemory.listed.clear()
    views = [artifacts.counted(execution_id, SHOWN) for _ in range(MANY)]
    shown = await asyncio.gather(*views)
    assert [facts_of(each) for each in shown] == [{"count": 1, "bytes": 6}] * MANY
    for _ in range(MANY):
        await artifacts.counted(execution_id, SHOWN)
    assert GatedMemory.listed.count(marks_of(execution_id)) == 1
    now_s = 2 * EACH_S
    await artifacts.counted(execution_id, SHOWN)
    assert GatedMemory.listed.count(marks_of(execution_id)) == 2


async def test_a_view_without_a_place_or_without_an_answer_shows_what_is_known(
    settings: ArtifactSettings, gate: Callable[[str], threading.Event]
) -> None:
    artifacts, many = Artifacts(settings), executions_of("demo", 33)
    GatedMemory.fails = True
    assert await artifacts.counted(many[0], SHOWN) == SHOWN
    artifacts.store.totals.keep(execution_key(many[0]), ExecutionTotal(0, 0))
    assert facts_of(await artifacts.counted(many[0], SHOWN)) == {"count": 0, "bytes": 0}
    GatedMemory.fails = False
    first = gate(execution_key(many[0]))
    views = [asyncio.create_task(artifacts.counted(each, SHOWN)) for each in many]
    await begun(3)
    refused = views.pop()
    assert await refused == SHOWN
    first.set()
    assert {facts_of(each)["count"] for each in await asyncio.gather(*views)} == {0}


async def test_who_asks_and_moves_much_leaves_threads_to_others(settings: ArtifactSettings) -> None:
    artifacts, gate = Artifacts(settings), threading.Event()
    hold = partial(gate.wait, WAIT_S)
    try:
        held = [asyncio.create_task(artifacts.move("demo", hold)) for _ in range(MANY)]
        held += [asyncio.create_task(artifacts.ask("demo", hold)) for _ in range(64)]
        await begun(3)
        with pytest.raises(OverloadedError, match="64 questions for artifacts of demo"):
            await artifacts.ask("demo", hold)
        async with asyncio.timeout(WAIT_S / 2):
            assert await artifacts.move("shop", lambda: "moved") == "moved"
            assert await artifacts.ask("shop", lambda: "found") == "found"
    finally:
        gate.set()
    await asyncio.gather(*held)


async def test_inputs_with_artifacts_of_a_workspace_leave_threads_to_others(
    settings: ArtifactSettings, gate: Callable[[str], threading.Event]
) -> None:
    film = inputs.stored(settings, "shop:film_c_0").json()
    closed = gate(execution_key("demo:film_c_1"))
    asked = inputs.request([{"rillflow_artifact": "a" * 64}])
    held = [asyncio.create_task(inputs.addressed(asked, settings)) for _ in range(MANY)]
    await begun(3)
    other = inputs.request([film], execution_id="shop:film_c_1")
    async with asyncio.timeout(WAIT_S / 2):
        [given] = await inputs.addressed(other, settings)
    assert given["url"].startswith("http://127.0.0.1/")
    closed.set()
    failed = await asyncio.gather(*held, return_exceptions=True)
    assert {"is gone" in str(each) for each in failed} == {True}


async def test_methods_with_artifacts_of_a_workspace_leave_threads_to_others(
    settings: ArtifactSettings, gate: Callable[[str], threading.Event]
) -> None:
    film = inputs.stored(settings, "shop:film_c_0")
    closed = gate(execution_key("demo:film_c_1"))
    caller, text = Caller((), 1_000), encode_json({"film": film.json()})

    def fields_for(workspace: str) -> Any:
        execution = execution_key(f"{workspace}:film_c_1")
        access = ArtifactAccess(settings.store_url, 1_000, 9_000, execution)
        return caller._fields_of(CallInput(text, access, workspace))

    held = [asyncio.create_task(fields_for("demo")) for _ in range(MANY)]
    await begun(3)
    async with asyncio.timeout(WAIT_S / 2):
        assert (await fields_for("shop"))["film"].read() == b"a film"
    closed.set()
    failed = await asyncio.gather(*held, return_exceptions=True)
    assert {"is gone" in str(each) for each in failed} == {True}


def test_an_input_with_many_artifacts_lists_its_execution_once_and_no_references(
    settings: ArtifactSettings,
) -> None:
    many, artifacts = executions_of("demo", 2), Artifacts(settings)
    films = [
        artifacts.store.put(
            execution_key(many[0]), inputs.film_of(number), media_type="video/webm", name="a.webm"
        )
        for number in range(MANY)
    ]
    GatedMemory.listed.clear()
    for film in films:
        artifacts.store.adopt(execution_key(many[1]), film)
    assert GatedMemory.listed.count(marks_of(many[1])) == 1
    folders = Counter(each.partition("/")[0] for each in GatedMemory.listed)
    assert folders["references"] == 0, folders


def test_totals_are_used_for_a_while_and_few_of_them_are_kept() -> None:
    now_s = 0.0
    totals = ExecutionTotals(lambda: now_s)
    totals.keep("one", ExecutionTotal(1_000, 5))
    totals.add("one", 7)
    totals.add("unknown", 7)
    assert totals.fresh("one") == (1_001, 12)
    assert totals.fresh("unknown") is None
    now_s = 1_002 * EACH_S
    assert totals.fresh("one") is None
    assert totals.fresh("one", 2.0) == totals.last("one") == (1_001, 12)
    totals.forget("one")
    assert totals.last("one") is None
    for number in range(MOST_KNOWN + 1):
        totals.keep(str(number), ExecutionTotal(0, 0))
    assert (totals.last("0"), totals.last("1")) == (None, (0, 0))
