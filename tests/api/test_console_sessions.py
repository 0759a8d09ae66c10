"""A key begins and ends sessions of the console at a rate, and has few rows of ended ones."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from rillflow.ports.storage.sessions import EndedSession
from rillflow.stores.memory.store import MemoryStore
from serve.limits.session_limits import BURST_OF_KEY
from serve.schemas.console_sessions import with_own_cookies
from serve.schemas.ended_rows import MOST_OF_KEY, MOST_ROWS, Session, is_ended, needed
from serve.schemas.session_ends import FRESH_S, REMOVED_AT_ONCE, SessionEnds
from tests.api.serving import Api, MovableClock, served
from tests.api.test_access import FIRST, made

OURS: Final = {"Sec-Fetch-Site": "same-origin"}
DATA: Final = "/flow/console/v1/workspaces.json"
HOUR_MS: Final = 3_600_000


class CountingStore(MemoryStore):
    """A store that counts the transactions which end sessions, with what they remove."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[tuple[int, int]] = []

    async def end_sessions(
        self, ended: Sequence[EndedSession], *, removed: Sequence[str] = ()
    ) -> None:
        self.changes.append((len(ended), len(removed)))
        await super().end_sessions(ended, removed=removed)


async def begun(api: Api, key: str) -> Any:
    answer = await api.client.post("/console/sign-in", json={"key": key}, headers=OURS)
    api.client.cookies.clear()
    return answer


async def signed_in(api: Api, key: str) -> dict[str, str]:
    answer = await begun(api, key)
    assert answer.status_code == 200, answer.text
    cookie = answer.headers["set-cookie"].partition(";")[0]
    return OURS | {"Cookie": cookie, "X-Rillflow-Session": answer.json()["token"]}


async def sign_out(api: Api, session: dict[str, str]) -> None:
    answer = await api.client.post("/console/sign-out", headers=session)
    assert answer.status_code == 200, answer.text


async def is_let_in(api: Api, session: dict[str, str]) -> bool:
    answer = await api.client.get(DATA, headers=session)
    assert answer.status_code in (200, 401), answer.text
    return answer.status_code == 200


async def test_a_session_holds_beside_very_many_cookies_of_other_servers() -> None:
    others = "; ".join(f'a{number}="\\101"' for number in range(900))
    async with served(api_key=FIRST) as api:
        session = await signed_in(api, FIRST)
        for cookies in (f"{session['Cookie']}; {others}", f"{others};{session['Cookie']}"):
            assert await is_let_in(api, session | {"Cookie": cookies})
        assert not await is_let_in(api, session | {"Cookie": others})


def test_cookies_of_other_servers_are_left_out() -> None:
    headers = [(b"host", b"x"), (b"cookie", b"a=1; rillflow_console_80=b;c;rillflow_console=d; e")]
    shown = b"rillflow_console_80=b; rillflow_console=d"
    assert with_own_cookies(headers) == [(b"host", b"x"), (b"cookie", shown)]


async def test_a_key_signs_in_so_often_and_others_go_on() -> None:
    async with served(api_key=FIRST) as api:
        key, other = await made(api, "few", "viewer"), await made(api, "other", "viewer")
        api.clock.stop_all()
        for _ in range(BURST_OF_KEY):
            await signed_in(api, key)
        refused = await begun(api, key)
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "1"
        for each in (other, FIRST):
            await signed_in(api, each)
        api.clock.advance(1)
        await signed_in(api, key)
        assert (await begun(api, key)).status_code == 429


async def test_a_key_has_so_many_ended_sessions_and_the_oldest_give_way() -> None:
    store = CountingStore()
    async with served(api_key=FIRST, store=store) as api:
        key, other = await made(api, "few", "viewer"), await made(api, "other", "viewer")
        old = await signed_in(api, key)
        others = [await signed_in(api, each) for each in (other, FIRST)]
        api.clock.advance(2)
        ended = []
        for _ in range(MOST_OF_KEY * 2):
            ended.append(await signed_in(api, key))
            await sign_out(api, ended[-1])
            api.clock.advance(2)
            assert len(await store.ended_sessions()) <= MOST_OF_KEY + 2
        late = await signed_in(api, key)
        for each in (late, *others):
            assert await is_let_in(api, each)
        for each in (old, ended[0], ended[MOST_OF_KEY], ended[-1]):
            assert not await is_let_in(api, each)
    async with served(api_key=FIRST, store=store) as again:
        assert not await is_let_in(again, ended[0])


async def test_a_session_that_is_ended_again_and_again_is_written_once() -> None:
    store = CountingStore()
    async with served(api_key=FIRST, store=store) as api:
        mine = await signed_in(api, FIRST)
        for _ in range(5):
            await sign_out(api, mine)
        assert store.changes == [(1, 0)]


async def test_rows_of_an_earlier_release_are_removed_in_portions() -> None:
    """It kept one for each, without a limit."""
    clock, store = MovableClock(), CountingStore()
    await store.open()
    now_ms = clock.now_ms()
    many = [EndedSession(f"{n:032x}.few", now_ms + HOUR_MS + n) for n in range(1_700)]
    await store.end_sessions([*many, EndedSession("0" * 32, now_ms - 1)])
    store.changes.clear()
    ends = SessionEnds(store, clock)
    assert await ends.has_ended(Session(*many[0]))
    await asyncio.gather(*(each for each in asyncio.all_tasks() if each.get_name() == "sessions"))
    rows = await store.ended_sessions()
    assert [removed for _, removed in store.changes] == [1000, 651]
    assert max(removed for _, removed in store.changes) == REMOVED_AT_ONCE
    assert [ended for ended, _ in store.changes] == [1, 0]
    assert len(rows) == MOST_OF_KEY // 2 + 1
    for each in many:
        assert await ends.has_ended(Session(*each))
    later = Session(f"{'f' * 32}.few", many[-1].ends_ms + 1)
    assert not await ends.has_ended(later)
    clock.advance(FRESH_S)
    assert not await ends.has_ended(later)


def test_rows_that_have_ended_by_themselves_are_not_needed() -> None:
    assert needed({"a": 5, "b.k": 6, "*": 5, "*.k": 7}, 5) == {"*.k": 7}


def test_all_keys_together_have_so_many_rows() -> None:
    rows = {f"{n:032x}.k{k}": 1_000 + n for k in range(200) for n in range(MOST_OF_KEY)}
    kept = needed(rows, 0)
    assert len(kept) <= MOST_ROWS
    for session_id, ends_ms in rows.items():
        assert is_ended(kept, Session(session_id, ends_ms))
    assert not is_ended(kept, Session("new.k0", 1_000 + MOST_OF_KEY))
    assert not is_ended(kept, Session("new", 0x7FFFFFFF))


def test_what_is_needed_stays_as_it_is() -> None:
    rows = {f"{n:032x}": 1_000 + n for n in range(MOST_OF_KEY)}
    assert needed(rows, 0) == rows
    assert needed(needed(rows | {"x": 1}, 0), 0) == needed(rows | {"x": 1}, 0)
