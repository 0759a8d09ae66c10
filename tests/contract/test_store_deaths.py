"""A store keeps which executions an owner's process died of, until they are forgotten."""

from collections.abc import Callable

from rillflow.ids import ExecutionId
from rillflow.ports.storage.store import DEATHS_KEPT_MS, Death, ExecutionFilter, Store
from tests.contract.appends import close, id_of, submit

LATER_MS = 10_000


def death(number: int, life: str, step: str = "replay", at_ms: int = 5) -> Death:
    return Death(execution_id=id_of(number), life=life, step=step, at_ms=at_ms)


async def lives(store: Store) -> set[tuple[ExecutionId, str]]:
    return {(each.execution_id, each.life) for each in await store.deaths()}


async def test_a_death_is_kept_once_however_often_it_is_noted(store: Store) -> None:
    assert await store.deaths() == []
    for _ in range(2):
        await store.note_death(death(1, "a"))
    assert await store.deaths() == [death(1, "a")]
    await store.note_death(death(1, "b"))
    await store.note_death(death(2, "a"))
    assert await lives(store) == {(id_of(1), "a"), (id_of(1), "b"), (id_of(2), "a")}


async def test_deaths_outlive_the_process(new_store: Callable[[], Store]) -> None:
    store = new_store()
    await store.open()
    await store.note_death(death(1, "a", "TimerFired work", 7))
    await store.close()
    again = new_store()
    await again.open()
    assert await again.deaths() == [death(1, "a", "TimerFired work", 7)]
    await again.close()


async def test_deaths_are_forgotten_by_execution_or_by_step(store: Store) -> None:
    for number in (1, 2):
        await store.note_death(death(number, "a", "replay"))
        await store.note_death(death(number, "b", "commands"))
    await store.forget_deaths(id_of(1), "replay")
    assert await lives(store) == {(id_of(1), "b"), (id_of(2), "a"), (id_of(2), "b")}
    await store.forget_deaths(id_of(2))
    assert await lives(store) == {(id_of(1), "b")}
    await store.forget_deaths(id_of(3))


async def test_deaths_go_with_their_execution(store: Store) -> None:
    await store.append([submit(1), close(1, 2, "FAILED"), submit(2), close(2, 2, "FAILED")])
    for number in (1, 2):
        await store.note_death(death(number, "a"))
    assert await store.purge([id_of(1)], ended_before_ms=LATER_MS, most_records=9) == []
    assert await lives(store) == {(id_of(2), "a")}


async def test_those_of_executions_that_were_never_stored_go_after_a_week(store: Store) -> None:
    await store.append([submit(1)])
    await store.note_death(death(1, "a"))
    await store.note_death(death(2, "a"))
    await store.note_death(death(3, "b", at_ms=5 + DEATHS_KEPT_MS))
    assert await lives(store) == {(id_of(1), "a"), (id_of(2), "a"), (id_of(3), "b")}
    await store.note_death(death(3, "c", at_ms=6 + DEATHS_KEPT_MS))
    assert await lives(store) == {(id_of(1), "a"), (id_of(3), "b"), (id_of(3), "c")}


async def test_one_execution_can_be_listed_alone(store: Store) -> None:
    await store.append([submit(1), submit(2)])
    [found] = await store.list_executions(ExecutionFilter(execution_id=id_of(2)), limit=1)
    assert (found.execution_id, found.status) == (id_of(2), "RUNNING")
    assert await store.list_executions(ExecutionFilter(execution_id=id_of(3)), limit=1) == []
