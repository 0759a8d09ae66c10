"""A session of the console that was ended is known to be, until it would have ended by itself."""

from collections.abc import Callable

from rillflow.ports.storage.store import Store


async def test_no_session_was_ended_before_the_first(store: Store) -> None:
    assert await store.ended_sessions(at_ms=0) == []


async def test_an_ended_session_is_listed_until_its_own_end(store: Store) -> None:
    await store.end_session("b", ends_ms=200, at_ms=10)
    await store.end_session("a", ends_ms=100, at_ms=20)
    await store.end_session("a", ends_ms=100, at_ms=30)
    assert await store.ended_sessions(at_ms=30) == ["a", "b"]
    assert await store.ended_sessions(at_ms=100) == ["b"]
    assert await store.ended_sessions(at_ms=200) == []


async def test_what_has_ended_by_itself_is_removed(store: Store) -> None:
    await store.end_session("a", ends_ms=100, at_ms=10)
    await store.end_session("b", ends_ms=200, at_ms=100)
    assert await store.ended_sessions(at_ms=0) == ["b"]


async def test_many_are_listed(store: Store) -> None:
    names = [f"{number:03}" for number in range(150)]
    for name in names:
        await store.end_session(name, ends_ms=9, at_ms=1)
    assert await store.ended_sessions(at_ms=1) == names


async def test_an_ended_session_is_known_to_other_processes_and_after_a_restart(
    new_store: Callable[[], Store],
) -> None:
    first, second = new_store(), new_store()
    await first.open()
    await second.open()
    await first.end_session("a", ends_ms=100, at_ms=10)
    assert await second.ended_sessions(at_ms=10) == ["a"]
    await first.close()
    await second.close()
    again = new_store()
    await again.open()
    assert await again.ended_sessions(at_ms=10) == ["a"]
    await again.close()
