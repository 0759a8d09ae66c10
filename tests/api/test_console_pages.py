"""The console's page needs no key and runs only its own files; its session is worth the key.

A browser sends the cookie of a session by itself, to every port of this machine. So it is worth
nothing without the token, which only pages of this server hold, and for other pages' requests.
"""

import gzip
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import httpx
import pytest
import pytest_asyncio

from rillflow.errors import StoreError
from rillflow.ports.storage.sessions import EndedSession
from rillflow.stores import open_store
from rillflow.stores.memory.store import MemoryStore
from serve.routes.console_pages import FILES, STATIC
from serve.schemas.console_sessions import COOKIE, LIFE_S
from serve.schemas.session_ends import FRESH_S
from tests.api.serving import Api, refusal_of, served

KEY: Final = "correct-horse-battery"
SESSION: Final = "/console/session"
SIGN_IN: Final = "/console/sign-in"
SIGN_OUT: Final = "/console/sign-out"
DATA: Final = "/flow/bg/get_business_options.json"
MODULE_LOOP: Final = pytest.mark.asyncio(loop_scope="module")
MOST_FIRST_BYTES: Final = 200_000
"""What a browser loads before it shows the first page, compressed."""
OURS: Final = {"Sec-Fetch-Site": "same-origin"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def plain() -> AsyncIterator[Api]:
    async with served() as api:
        yield api


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def keyed() -> AsyncIterator[Api]:
    async with served(api_key=KEY) as api:
        yield api


async def signed_in(api: Api, **headers: str) -> dict[str, str]:
    """Begin a session, and return the headers with its two halves."""
    answer = await api.client.post(SIGN_IN, json={"key": KEY}, headers=OURS | headers)
    assert answer.status_code == 200, answer.text
    api.client.cookies.clear()
    cookie = answer.headers["set-cookie"].partition(";")[0]
    return {"Cookie": cookie, "X-Rillflow-Session": answer.json()["token"]}


async def is_let_in(api: Api, headers: dict[str, str]) -> bool:
    status = (await api.client.get(DATA, headers=headers)).status_code
    assert status in (200, 401)
    return status == 200


def named_files(html: str) -> list[str]:
    return re.findall(r'(?:src|href)="\./console/files/([^"]+)"', html)


@MODULE_LOOP
async def test_the_root_leads_to_the_console_below_any_path(plain: Api) -> None:
    answer = await plain.client.get("/", follow_redirects=False)
    assert answer.status_code == 307
    assert answer.headers["location"] == "console"
    slash = await plain.client.get("/console/", follow_redirects=False)
    assert slash.headers["location"] == "../console"


@MODULE_LOOP
async def test_the_page_runs_nothing_but_its_files(plain: Api) -> None:
    answer = await plain.client.get("/console")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-cache"
    assert named_files(answer.text)
    assert not re.findall(r"<style|<script(?![^>]*src=)|\son\w+=|style=", answer.text)
    for text in (answer.text, *(file.read_text("utf-8") for file in FILES.glob("*.css"))):
        assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", text)


@MODULE_LOOP
async def test_a_page_that_has_not_changed_is_not_sent_again(plain: Api) -> None:
    first = await plain.client.get("/console")
    again = await plain.client.get("/console", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert not again.content


@MODULE_LOOP
async def test_files_are_kept_for_ever_and_sent_compressed(plain: Api) -> None:
    page = await plain.client.get("/console")
    for name in named_files(page.text):
        answer = await plain.client.get(f"/console/files/{name}")
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.content == (FILES / name).read_bytes()
        unpacked = await plain.client.get(
            f"/console/files/{name}", headers={"Accept-Encoding": "identity"}
        )
        assert "content-encoding" not in unpacked.headers
        assert unpacked.content == answer.content


@MODULE_LOOP
async def test_the_first_load_is_small(plain: Api) -> None:
    page = await plain.client.get("/console")
    files = [FILES / name for name in named_files(page.text)]
    sizes = [len(gzip.compress(file.read_bytes())) for file in (STATIC / "index.html", *files)]
    assert len(sizes) > 3
    assert sum(sizes) < MOST_FIRST_BYTES


@MODULE_LOOP
@pytest.mark.parametrize(
    "name", ["nothing.js", "..%2F..%2Findex.html", "%2e%2e", "../index.html", "a/b.js"]
)
async def test_only_the_consoles_files_are_sent(plain: Api, name: str) -> None:
    answer = await plain.client.get(f"/console/files/{name}")
    assert answer.status_code == 404


@MODULE_LOOP
async def test_the_page_needs_no_key_and_has_no_data(keyed: Api) -> None:
    page = await keyed.client.get("/console")
    assert page.status_code == 200
    [script, *_] = [name for name in named_files(page.text) if name.endswith(".js")]
    assert (await keyed.client.get(f"/console/files/{script}")).status_code == 200
    assert (await keyed.client.get(DATA)).status_code == 401
    state = await keyed.client.get(SESSION)
    assert state.json() == {"key_needed": True, "signed_in": False}


@MODULE_LOOP
async def test_a_server_without_a_key_needs_no_session(plain: Api) -> None:
    state = {"key_needed": False, "signed_in": True, "role": "admin", "workspaces": []}
    assert (await plain.client.get(SESSION)).json() == state


@MODULE_LOOP
async def test_the_key_begins_a_session_that_is_worth_it(keyed: Api) -> None:
    answer = await keyed.client.post(SIGN_IN, json={"key": KEY}, headers=OURS)
    keyed.client.cookies.clear()
    cookie = answer.headers["set-cookie"]
    token = answer.json()["token"]
    assert KEY not in cookie + token
    assert token not in cookie
    for part in ("HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={LIFE_S}"):
        assert part in cookie
    assert "Secure" not in cookie
    mine = OURS | {"Cookie": cookie.partition(";")[0], "X-Rillflow-Session": token}
    assert await is_let_in(keyed, mine)
    state = await keyed.client.get(SESSION, headers=mine)
    admin = {"role": "admin", "workspaces": []}
    assert state.json() == {"key_needed": True, "signed_in": True, **admin}


@MODULE_LOOP
async def test_half_a_session_is_none(keyed: Api) -> None:
    """A program at another port of this machine gets the cookie from the browser."""
    mine, other = await signed_in(keyed), await signed_in(keyed)
    assert await is_let_in(keyed, mine)
    for half in (
        {"Cookie": mine["Cookie"]},
        {"X-Rillflow-Session": mine["X-Rillflow-Session"]},
        mine | {"X-Rillflow-Session": other["X-Rillflow-Session"]},
        mine | {"Cookie": other["Cookie"]},
        mine | {"X-Rillflow-Session": ""},
        mine | {"X-Rillflow-Session": mine["Cookie"].rpartition(".")[2]},
    ):
        assert not await is_let_in(keyed, half)
        state = await keyed.client.get(SESSION, headers=half)
        assert state.json() == {"key_needed": True, "signed_in": False}


@MODULE_LOOP
async def test_servers_at_two_ports_of_a_machine_do_not_end_each_others_sessions(
    keyed: Api,
) -> None:
    names = [
        (await signed_in(keyed, Host=host))["Cookie"].partition("=")[0]
        for host in ("localhost:8080", "localhost:8081", "localhost", "[::1]:8080", "[::1]")
    ]
    assert names == [f"{COOKIE}{end}" for end in ("_8080", "_8081", "", "_8080", "")]


@MODULE_LOOP
async def test_over_https_the_cookie_goes_over_nothing_else(keyed: Api) -> None:
    answer = await keyed.client.post(
        SIGN_IN, json={"key": KEY}, headers=OURS | {"Origin": "https://flows.example"}
    )
    keyed.client.cookies.clear()
    assert answer.headers["set-cookie"].endswith("; Secure")


@MODULE_LOOP
@pytest.mark.parametrize("body", ['{"key": "wrong"}', '{"key": ""}'])
async def test_a_wrong_key_begins_no_session(keyed: Api, body: str) -> None:
    answer = await keyed.client.post(SIGN_IN, content=body, headers=OURS)
    assert answer.status_code == 403
    assert refusal_of(answer)[2] == "the API key is wrong"
    assert "set-cookie" not in answer.headers


@MODULE_LOOP
@pytest.mark.parametrize("body", ["", "[]", '{"key": 1}', "{", '"key"'])
async def test_what_shows_no_key_is_refused(keyed: Api, body: str) -> None:
    answer = await keyed.client.post(SIGN_IN, content=body, headers=OURS)
    assert answer.status_code == 400
    assert "the body must be" in refusal_of(answer)[2]


@MODULE_LOOP
async def test_a_session_ends_when_its_person_leaves(keyed: Api) -> None:
    mine, other = await signed_in(keyed), await signed_in(keyed)
    answer = await keyed.client.post(SIGN_OUT, headers=OURS | mine)
    assert answer.headers["set-cookie"].startswith(f"{mine['Cookie'].partition('=')[0]}=; ")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert not await is_let_in(keyed, mine)
    assert await is_let_in(keyed, other)


@MODULE_LOOP
async def test_the_cookie_alone_ends_no_session(keyed: Api) -> None:
    mine = await signed_in(keyed)
    await keyed.client.post(SIGN_OUT, headers=OURS | {"Cookie": mine["Cookie"]})
    assert await is_let_in(keyed, mine)


@MODULE_LOOP
async def test_who_shows_the_key_again_has_one_session(keyed: Api) -> None:
    first = await signed_in(keyed)
    second = await signed_in(keyed, **first)
    assert not await is_let_in(keyed, first)
    assert await is_let_in(keyed, second)


async def test_a_session_that_was_ended_is_ended_at_all_replicas_and_after_a_restart(
    tmp_path: Path,
) -> None:
    def replica() -> AbstractAsyncContextManager[Api]:
        return served(api_key=KEY, store=open_store(f"sqlite://{tmp_path}/rillflow.db"))

    host = {"Host": "flows.example:8080"}  # where a browser finds all replicas
    async with replica() as one, replica() as other:
        mine, kept = [await signed_in(one, **host) | host for _ in range(2)]
        assert await is_let_in(other, mine)
        await one.client.post(SIGN_OUT, headers=OURS | mine)
        other.clock.advance(FRESH_S)
        assert not await is_let_in(other, mine)
        assert await is_let_in(other, kept)
    async with replica() as again:
        assert not await is_let_in(again, mine)
        assert await is_let_in(again, kept)


class SilentStore(MemoryStore):
    """A store that does not tell which sessions have ended."""

    is_silent = True

    async def end_sessions(
        self, ended: Sequence[EndedSession], *, removed: Sequence[str] = ()
    ) -> None:
        if self.is_silent:
            raise StoreError("the connection was lost")
        await super().end_sessions(ended, removed=removed)

    async def ended_sessions(self) -> list[EndedSession]:
        if self.is_silent:
            raise StoreError("the connection was lost")
        return await super().ended_sessions()


async def test_no_session_is_believed_before_the_store_has_told_which_have_ended() -> None:
    store = SilentStore()
    async with served(api_key=KEY, store=store) as api:
        mine = await signed_in(api)
        refused = await api.client.get(DATA, headers=mine)
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "1"
        store.is_silent = False
        assert await is_let_in(api, mine)
        store.is_silent = True
        api.clock.advance(FRESH_S)
        assert await is_let_in(api, mine)  # who looks why the store is silent can go on


async def test_a_session_whose_end_cannot_be_stored_has_ended_where_it_was_asked_for() -> None:
    store = SilentStore()
    store.is_silent = False
    async with served(api_key=KEY, store=store) as api:
        mine = await signed_in(api)
        assert await is_let_in(api, mine)
        store.is_silent = True
        assert (await api.client.post(SIGN_OUT, headers=OURS | mine)).status_code == 503
        assert not await is_let_in(api, mine)
        assert (await api.client.post(SIGN_IN, json={"key": KEY}, headers=OURS | mine)).is_success


async def test_a_session_ends_by_itself() -> None:
    async with served(api_key=KEY) as api:
        mine = await signed_in(api)
        assert await is_let_in(api, mine)
        api.clock.advance(LIFE_S + 1)
        assert not await is_let_in(api, mine)


async def test_another_key_ends_all_sessions() -> None:
    async with served(api_key="another") as other, served(api_key=KEY) as api:
        assert not await is_let_in(other, await signed_in(api))


@MODULE_LOOP
async def test_a_forged_session_is_none(keyed: Api) -> None:
    mine = await signed_in(keyed)
    name, _, value = mine["Cookie"].partition("=")
    ends, session, seal = value.split(".")
    forged = [
        "",
        ends,
        f"{ends}.",
        f"{ends}.{session}",
        f"{ends}.{seal}",
        f"{int(ends) + 1}.{session}.{seal}",
        f"{ends}.{session}0.{seal}",
        f"{ends}.{session}.{seal[:-1]}",
        f"{ends}.{session}.{seal}0",
        f"{ends}.{session}.{seal}{mine['X-Rillflow-Session']}",
        f"{'9' * 400}.{session}.{seal}",
        f"-1.{session}.{seal}",
        f"²{ends}.{session}.{seal}",
        f"{ends}.\xff.{seal}",
        f"..{seal}",
        f"{ends}.{session}.{'0' * 64}",
    ]
    for each in forged:
        for token in (mine["X-Rillflow-Session"].encode(), b"", b"\xff"):
            headers = [(b"Cookie", f"{name}={each}".encode()), (b"X-Rillflow-Session", token)]
            answer = await keyed.client.get(DATA, headers=headers)
            assert answer.status_code == 401, (each, token)


@MODULE_LOOP
@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1", "Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "none"},
        {"Origin": ""},
    ],
)
async def test_a_session_is_worth_nothing_to_pages_of_other_origins(
    keyed: Api, headers: dict[str, str]
) -> None:
    """Every port of a machine is one site, so a browser sends the cookie from all of them."""
    mine = headers | await signed_in(keyed)
    for method, path in (
        ("GET", DATA),
        ("POST", "/flow/cancel.json"),
        ("POST", "/flow/submit.json"),
    ):
        answer = await keyed.client.request(method, path, headers=mine)
        assert answer.status_code == 403, (method, path)
        assert refusal_of(answer)[1] == 30108
    assert (await keyed.client.post(SIGN_OUT, headers=mine)).status_code == 403


@MODULE_LOOP
@pytest.mark.parametrize("path", [SIGN_IN, SIGN_OUT])
async def test_only_our_pages_change_the_session_of_a_browser(
    plain: Api, keyed: Api, path: str
) -> None:
    for api in (plain, keyed):
        answer = await api.client.post(path, json={"key": KEY})
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


@MODULE_LOOP
async def test_a_request_that_changes_something_shows_that_our_page_sent_it(keyed: Api) -> None:
    """Over plain HTTP to another machine browsers send ``Origin`` with a POST, and no more."""
    session = await signed_in(keyed)
    ours = {"Origin": f"http://127.0.0.1:{keyed.stack.settings.port}"}
    params = {"execution_id": "shop:order_c_8f0f9c00-0000-11f0-8000-000000000000"}

    async def cancel(**headers: str) -> httpx.Response:
        return await keyed.client.post("/flow/cancel.json", params=params, headers=headers)

    assert (await cancel(**session)).status_code == 403
    for headers in (ours, OURS, ours | OURS):
        assert refusal_of(await cancel(**session, **headers))[1] == 30605, headers
    assert await is_let_in(keyed, session)


@MODULE_LOOP
async def test_the_key_in_a_header_wins_over_a_session(keyed: Api) -> None:
    foreign = {"Origin": "https://evil.example"} | await signed_in(keyed)
    with_key = foreign | {"Authorization": f"Bearer {KEY}"}
    assert (await keyed.client.get(DATA, headers=with_key)).status_code == 200
    wrong = foreign | {"Authorization": "Bearer wrong"}
    assert (await keyed.client.get(DATA, headers=wrong)).status_code == 401


def test_the_files_are_those_that_the_page_can_ask_for() -> None:
    assert sorted(path.suffix for path in FILES.iterdir()).count(".js") > 3
    assert {path.suffix for path in FILES.iterdir()} <= {".js", ".css", ".svg"}
    assert not [path for path in STATIC.rglob("*.map") if isinstance(path, Path)]
