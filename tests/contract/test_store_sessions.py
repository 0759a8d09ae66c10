"""Sessions of the console that were ended are rows that stay until they are removed."""

from collections.abc import Callable

from rillflow.ports.storage.sessions import EndedSession
from rillflow.ports.storage.store import Store


async def test_no_session_was_ended_before_the_first(store: Store) -> None:
    assert await store.ended_sessions() == []


async def test_an_ended_session_is_listed_with_its_own_end(store: Store) -> None:
    await store.end_sessions([EndedSession("b", 200)])
    await store.end_sessions([EndedSession("a", 100)])
    await store.end_sessions([EndedSession("a", 100)])
    assert await store.ended_sessions() == [("a", 100), ("b", 200)]


async def test_a_row_keeps_the_later_end(store: Store) -> None:
    await store.end_sessions([EndedSession("*", 100)])
    await store.end_sessions([EndedSession("*", 300)])
    await store.end_sessions([EndedSession("*", 200)])
    assert await store.ended_sessions() == [("*", 300)]


async def test_rows_are_removed_with_what_stands_for_them(store: Store) -> None:
    await store.end_sessions([EndedSession(name, 100) for name in "cab"])
    await store.end_sessions([EndedSession("*", 100)], removed=["c", "a", "missing"])
    assert await store.ended_sessions() == [("*", 100), ("b", 100)]
    await store.end_sessions([], removed=["*"])
    assert await store.ended_sessions() == [("b", 100)]


async def test_many_are_listed(store: Store) -> None:
    names = [f"{number:03}" for number in range(150)]
    await store.end_sessions([EndedSession(name, 9) for name in names])
    assert [each.session_id for each in await store.ended_sessions()] == names


async def test_an_ended_session_is_known_to_other_processes_and_after_a_restart(
    new_store: Callable[[], Store],
) -> None:
    first, second = new_store(), new_store()
    await first.open()
    await second.open()
    await first.end_sessions([EndedSession("a", 100)])
    assert await second.ended_sessions() == [("a", 100)]
    await first.close()
    await second.close()
    again = new_store()
    await again.open()
    assert await again.ended_sessions() == [("a", 100)]
    await again.close()
