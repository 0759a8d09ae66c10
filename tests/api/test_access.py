"""A key by name does what its role may, in its workspaces, until it ends (docs/access.md).

Each route says in the table what it needs. Two tests walk all of them: one with every role, one
with a key of another workspace, to which nothing is shown, listed, counted or told.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio

from rillflow.ports.storage.access import ROLES, digest_of
from rillflow.stores import open_store
from serve.limits.callers import (
    CALLER,
    PARAMETERS,
    Caller,
    sender_of,
    share_of,
    share_of_places,
)
from serve.limits.known_keys import FRESH_S, STALE_S, KnownKeys
from serve.route_table import ROUTES, Access, Reach, Role, Route, methods
from tests.api.definition_texts import PASS, SUSPENDED
from tests.api.serving import Api, MovableClock, served

FIRST: Final = "the-key-of-the-settings"
OURS: Final = {"Sec-Fetch-Site": "same-origin"}
MODULE_LOOP: Final = pytest.mark.asyncio(loop_scope="module")
WITH_KEY: Final = [
    (method, route) for route in ROUTES if route.access is Access.KEY for method in methods(route)
]
VIDEO: Final = SUSPENDED.replace("workspace: shop", "workspace: video")


def shown(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def made(api: Api, name: str, role: str, **more: Any) -> str:
    """Make a key and return it."""
    answer = await api.client.post(
        "/flow/keys/add.json", params={"name": name, "role": role, **more}, headers=shown(FIRST)
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["key"])


async def revoked(api: Api, name: str) -> None:
    answer = await api.client.post(
        "/flow/keys/revoke.json", params={"name": name}, headers=shown(FIRST)
    )
    assert answer.status_code == 200, answer.text


def awaited(api: Api) -> Any:
    """Return the executions whose ends somebody waits for."""
    return api.stack.executions._watch._waiting  # type: ignore[attr-defined]


class Opened:
    """An API with a key for each role, and with executions in two workspaces."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.keys: dict[str, str] = {}
        self.ids: dict[str, str] = {}

    async def ask(self, method: str, path: str, key: str, **query: str) -> httpx.Response:
        return await self.api.client.request(method, path, params=query, headers=shown(key))


@asynccontextmanager
async def open_access(**settings: Any) -> AsyncIterator[Opened]:
    async with served(api_key=FIRST, **settings) as api:
        access = Opened(api)
        api.client.headers.update(shown(FIRST))
        for text, name in ((SUSPENDED, "shop"), (VIDEO, "video")):
            access.ids[name] = await api.submit(await api.add(text))
        del api.client.headers["Authorization"]
        for role in ROLES:
            access.keys[role] = await made(api, role, role)
        access.keys["video"] = await made(api, "of-video", "admin", workspaces="video")
        yield access


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def access() -> AsyncIterator[Opened]:
    async with open_access() as opened:
        yield opened


def _name(value: object) -> str:
    return value.path if isinstance(value, Route) else str(value)


@MODULE_LOOP
@pytest.mark.parametrize(("method", "route"), WITH_KEY, ids=_name)
async def test_each_role_may_do_what_the_table_says(
    access: Opened, method: str, route: Route
) -> None:
    """No parameters are given: who is let in is refused for their lack, and changes nothing."""
    for role in ROLES:
        answer = await access.ask(method, route.path, access.keys[role])
        is_let_in = Role[role.upper()] >= route.needs.role
        if is_let_in:
            assert answer.status_code not in (401, 403), (role, answer.text)
        else:
            assert answer.status_code == 403, (role, answer.text)
            assert f"role {route.needs.role.word}" in answer.json()["error"]


@MODULE_LOOP
@pytest.mark.parametrize(("method", "route"), WITH_KEY, ids=_name)
async def test_no_route_tells_a_key_of_another_workspace_anything(
    access: Opened, method: str, route: Route
) -> None:
    others = access.ids["shop"]
    if route.needs.reach is Reach.SEEN:
        query = {"current": "1", "pageSize": "9"}
        answer = await access.ask(method, route.path, access.keys["video"], **query)
        assert "shop" not in answer.text
        asked = {**query, "flow": "shop", "business": "shop", "id": others, "cursor": "a:b:c"}
        answer = await access.ask(method, route.path, access.keys["video"], **asked)
        assert others not in answer.text
        assert "shop:" not in answer.text
        return
    for name in sorted(PARAMETERS):
        told = {
            value: await access.ask(method, route.path, access.keys["video"], **{name: value})
            for value in (others, "shop", "shop:order", "nobody:nothing", "video,shop", " shop")
        }
        assert {answer.status_code for answer in told.values()} == {403}, (name, told)
        assert len({answer.text for answer in told.values()}) == 1, "what exists is not told"
    for name in ("flow", "business_id", "ids"):  # no route reads more than one of them
        answer = await access.ask(method, route.path, access.keys["video"], **{name: "video"})
        assert others not in answer.text, name
        assert "shop:order" not in answer.text or route.path == "/openapi.json", name
    mixed = f"execution_id={access.ids['video']}&execution_id={others}"
    answer = await access.api.client.request(
        method, f"{route.path}?{mixed}", headers=shown(access.keys["video"])
    )
    assert answer.status_code == 403


ENDS: Final = ("%0A", "%0D%0A", "%00", "%E2%80%A8", "%20")
"""What a router might take for nothing at the end of a path."""


@MODULE_LOOP
@pytest.mark.parametrize(("method", "route"), WITH_KEY, ids=_name)
async def test_no_other_spelling_of_a_path_lets_a_key_do_more(
    access: Opened, method: str, route: Route
) -> None:
    for end in ENDS:
        answer = await access.ask(method, f"{route.path}{end}", access.keys["viewer"])
        assert answer.status_code in (400, 403, 404), (end, answer.text)


@MODULE_LOOP
async def test_a_page_of_triggers_tells_no_ids_of_other_workspaces(access: Opened) -> None:
    body = {"cron": "0 0 3 * * *"}
    for name, trigger in (("video", "a-ours"), ("shop", "b-theirs"), ("video", "c-ours")):
        answer = await access.api.client.post(
            "/flow/triggers/add.json",
            json={**body, "id": trigger, "descriptor_id": f"{name}:order"},
            headers=shown(FIRST),
        )
        assert answer.status_code == 200, answer.text
    pages, after = [], ""
    while True:
        answer = await access.ask(
            "GET", "/flow/triggers/list.json", access.keys["video"], limit="1", after=after
        )
        page = answer.json()
        pages.append([each["id"] for each in page["triggers"]])
        if "next" not in page:
            break
        after = page["next"]
    assert pages == [["a-ours"], ["c-ours"]]
    taken = {**body, "id": "b-theirs", "descriptor_id": "video:order"}
    answer = await access.api.client.post(
        "/flow/triggers/add.json", json=taken, headers=shown(access.keys["video"])
    )
    assert answer.status_code == 400, answer.text
    assert "b-theirs" not in answer.text


@MODULE_LOOP
async def test_a_key_of_a_workspace_sees_and_counts_its_own(access: Opened) -> None:
    async def told(path: str, **query: str) -> Any:
        answer = await access.ask("GET", path, access.keys["video"], **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    own = access.ids["video"]
    listed = await told("/flow/console/v1/executions.json")
    assert [row["execution_id"] for row in listed["rows"]] == [own]
    assert (await told("/flow/console/v1/counts.json"))["total"] == 1
    assert (await told("/flow/console/v1/execution.json", execution_id=own)) != {}
    assert (await told("/flow/get.json", execution_id=own))["ret"]["execution_id"] == own
    businesses = await told("/flow/bg/manage/descriptor/get_business.json")
    assert businesses == {"business_ids": ["video"]}
    flows = await told("/flow/console/v1/workspaces.json")
    assert [each["business"] for each in flows["workspaces"]] == ["video"]
    pages = await told("/flow/bg/get_descriptor_ids.json", current="1", pageSize="10")
    assert (pages["total"], pages["items"][0]["business_id"]) == (1, "video")


@MODULE_LOOP
async def test_metrics_of_a_workspace_are_its_own_and_no_sums(access: Opened) -> None:
    for path in ("/metrics", "/actuator/prometheus"):
        answer = await access.ask("GET", path, access.keys["video"])
        assert answer.status_code == 200
        lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
        assert lines
        assert all("video" in line for line in lines), lines
        everything = await access.ask("GET", path, access.keys["viewer"])
        assert "shop" in everything.text
    names = await access.ask("GET", "/actuator/metrics", access.keys["video"])
    assert names.json()["names"]
    assert all("video" in name for name in names.json()["names"])


@MODULE_LOOP
async def test_a_form_is_compared_as_a_query_is(access: Opened) -> None:
    answer = await access.api.client.post(
        "/flow/cancel.json",
        data={"execution_id": access.ids["shop"]},
        headers=shown(access.keys["video"]),
    )
    assert answer.status_code == 403
    answer = await access.api.client.post(
        f"/flow/pause.json?execution_id={access.ids['video']}",
        data={"execution_id": access.ids["shop"]},
        headers=shown(access.keys["video"]),
    )
    assert answer.status_code == 403


@MODULE_LOOP
async def test_a_stream_tells_a_key_what_changes_in_its_workspace_only(access: Opened) -> None:
    api = access.api
    headers = shown(access.keys["video"]) | {"Accept": "text/event-stream"}
    refused = await api.client.get(
        "/flow/console/v1/executions.stream", params={"flow": "shop"}, headers=headers
    )
    assert refused.status_code == 403
    async with api.client.stream(
        "GET", "/flow/console/v1/executions.stream", headers=headers
    ) as stream:
        lines = stream.aiter_lines()
        async for line in lines:
            if line.startswith("data:"):
                break
        for name in ("shop", "video"):
            submitted = await api.client.post(
                "/flow/submit.json", params={"descriptor_id": f"{name}:order"}, headers=shown(FIRST)
            )
            assert submitted.status_code == 200
        async for line in lines:
            assert "shop" not in line
            if "video:order" in line:
                break


@MODULE_LOOP
async def test_the_store_has_hashes_and_no_keys(access: Opened) -> None:
    kept = await access.api.stack.store.api_keys()
    assert {key.name for key in kept} == {*ROLES, "of-video"}
    for key in kept:
        text = access.keys["video" if key.name == "of-video" else key.name]
        assert key.digest == digest_of(text.encode())
        assert text not in repr(kept)
    answer = await access.ask("GET", "/flow/keys/list.json", FIRST)
    assert all(text not in answer.text for text in access.keys.values())
    assert "digest" not in answer.text


async def test_a_key_works_at_once_and_ends_when_it_is_revoked_or_its_time_is_over() -> None:
    async with open_access() as access:
        api = access.api
        key = await made(api, "short", "viewer", expires_s="60")
        assert (await access.ask("GET", "/flow/cluster.json", key)).status_code == 200
        api.clock.advance(61)
        assert (await access.ask("GET", "/flow/cluster.json", key)).status_code == 401
        assert (await access.ask("GET", "/flow/cluster.json", access.keys["viewer"])).is_success
        await revoked(api, "viewer")
        answer = await access.ask("GET", "/flow/cluster.json", access.keys["viewer"])
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        listed = (await access.ask("GET", "/flow/keys/list.json", FIRST)).json()["keys"]
        states = {each["name"]: each["valid"] for each in listed}
        assert (states["short"], states["viewer"], states["operator"]) == (False, False, True)


async def test_a_key_that_ends_while_its_request_waits_gets_no_answer() -> None:
    async with open_access() as access, asyncio.timeout(60):
        waiting = asyncio.create_task(
            access.ask(
                "GET",
                "/flow/get.json",
                access.keys["viewer"],
                execution_id=access.ids["shop"],
                wait_s="600",
            )
        )
        while access.ids["shop"] not in awaited(access.api):  # noqa: ASYNC110 - it is being sent
            await asyncio.sleep(0)
        await revoked(access.api, "viewer")
        answer = await waiting  # the execution goes on, and the wait does not
        assert answer.status_code == 401
        assert access.ids["shop"] not in answer.text


async def test_a_submission_that_waits_ends_with_its_key_and_its_execution_goes_on() -> None:
    async with open_access() as access, asyncio.timeout(60):
        before = set(awaited(access.api))
        waiting = asyncio.create_task(
            access.ask(
                "POST",
                "/flow/submit.json",
                access.keys["submitter"],
                descriptor_id="shop:order",
                wait_s="600",
            )
        )
        while not (begun := set(awaited(access.api)) - before):  # noqa: ASYNC110 - it is being sent
            await asyncio.sleep(0)
        await revoked(access.api, "submitter")
        assert (await waiting).status_code == 401
        [execution] = begun
        shown = await access.ask("GET", "/flow/get.json", FIRST, execution_id=execution)
        assert shown.json()["ret"]["dag_status"] == "RUNNING"


async def test_a_stream_ends_with_the_key_of_its_reader() -> None:
    async with open_access() as access:
        headers = shown(access.keys["viewer"]) | {"Accept": "text/event-stream"}
        async with (
            asyncio.timeout(60),
            access.api.client.stream(
                "GET", "/flow/console/v1/executions.stream", headers=headers
            ) as stream,
        ):
            lines = stream.aiter_lines()
            assert await anext(lines)
            await revoked(access.api, "viewer")
            async for _ in lines:
                pass


async def test_a_session_does_what_the_key_may_that_it_was_begun_with() -> None:
    async with open_access() as access:
        client = access.api.client
        begun = await client.post(
            "/console/sign-in", json={"key": access.keys["viewer"]}, headers=OURS
        )
        assert begun.status_code == 200
        assert (begun.json()["role"], begun.json()["workspaces"]) == ("viewer", [])
        client.cookies.clear()
        cookie = begun.headers["set-cookie"].partition(";")[0]
        halves = OURS | {"Cookie": cookie, "X-Rillflow-Session": begun.json()["token"]}
        state = (await client.get("/console/session", headers=halves)).json()
        assert (state["signed_in"], state["role"]) == (True, "viewer")
        assert (await client.get("/flow/cluster.json", headers=halves)).status_code == 200
        order = {"execution_id": access.ids["shop"]}
        refused = await client.post("/flow/cancel.json", params=order, headers=halves)
        assert refused.status_code == 403
        await revoked(access.api, "viewer")
        assert (await client.get("/flow/cluster.json", headers=halves)).status_code == 401
        state = (await client.get("/console/session", headers=halves)).json()
        assert state == {"key_needed": True, "signed_in": False}


async def test_a_session_of_a_workspace_is_kept_to_it() -> None:
    async with open_access() as access:
        client = access.api.client
        begun = await client.post(
            "/console/sign-in", json={"key": access.keys["video"]}, headers=OURS
        )
        client.cookies.clear()
        cookie = begun.headers["set-cookie"].partition(";")[0]
        halves = OURS | {"Cookie": cookie, "X-Rillflow-Session": begun.json()["token"]}
        query = {"execution_id": access.ids["shop"]}
        assert (await client.get("/flow/get.json", params=query, headers=halves)).is_client_error
        query = {"execution_id": access.ids["video"]}
        assert (await client.get("/flow/get.json", params=query, headers=halves)).is_success


async def test_other_replicas_know_a_change_within_a_second_and_no_key_outlives_its_store() -> None:
    clock, store = MovableClock(), open_store("memory:")
    await store.open()
    here, there = KnownKeys(store, clock), KnownKeys(store, clock)
    assert await here.by_digest("none") is None
    assert await there.by_digest("none") is None
    async with served(store=store, api_key=FIRST) as api:
        key = digest_of((await made(api, "one", "viewer")).encode())
        clock.advance(FRESH_S)
        assert await there.by_digest(key) is not None
        await revoked(api, "one")
        clock.advance(FRESH_S)
        assert await there.by_digest(key) is None
    await store.close()
    clock.advance(STALE_S / 2)
    assert await here.by_digest(key) is None
    clock.advance(STALE_S)
    with pytest.raises(Exception, match="which API keys there are"):
        await here.by_digest(key)


def refused_keys() -> Iterator[tuple[dict[str, str], int, str]]:
    good = {"name": "a", "role": "viewer"}
    for name in ("-a", "a b", "ü", "a" * 65, "a\n"):
        yield {**good, "name": name}, 400, "name is malformed"
    yield {**good, "role": "viewers"}, 400, "there is no role viewers"
    for name in ("", " "):
        yield {**good, "name": name}, 400, "name is empty"
    for name in ("", " ", ","):
        yield {**good, "workspaces": name}, 400, "workspaces is empty"
    yield {**good, "expires_s": ""}, 400, "expires_s is empty"
    yield {**good, "workspace": "video"}, 400, "there is no parameter workspace"
    yield {**good, "workspaces": "a-b"}, 400, "is no name of a workspace"
    yield {**good, "workspaces": ",".join(f"w{n}" for n in range(51))}, 400, "up to 50 workspaces"
    for life in ("0", "-1", "999999999"):
        yield {**good, "expires_s": life}, 400, "expires_s must be"
    yield {"name": "viewer", "role": "viewer"}, 409, "there is, or was, a key viewer"


@MODULE_LOOP
@pytest.mark.parametrize(("query", "status", "error"), [*refused_keys()])
async def test_a_key_that_is_malformed_or_has_a_taken_name_is_not_made(
    access: Opened, query: dict[str, str], status: int, error: str
) -> None:
    answer = await access.ask("POST", "/flow/keys/add.json", FIRST, **query)
    assert (answer.status_code, error in answer.json()["error"]) == (status, True), answer.text


@MODULE_LOOP
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"workspaces":"video"}', "application/json"),
        (b"workspaces=video", "text/plain"),
        (b"workspaces=video", ""),
        (b"--b\r\n\r\nvideo\r\n--b--", "multipart/form-data; boundary=b"),
    ],
)
async def test_no_key_is_made_with_limits_in_a_body_that_is_not_read(
    access: Opened, body: bytes, content_type: str
) -> None:
    headers = {**shown(FIRST), "Content-Type": content_type}
    answer = await access.api.client.post(
        "/flow/keys/add.json?name=limited&role=viewer", content=body, headers=headers
    )
    assert (answer.status_code, answer.json()["error"]) == (415, "the body is not read")
    listed = await access.ask("GET", "/flow/keys/list.json", FIRST)
    assert "limited" not in [key["name"] for key in listed.json()["keys"]]


@MODULE_LOOP
async def test_nobody_makes_keys_but_who_is_admin_of_everything(access: Opened) -> None:
    query = {"name": "mine", "role": "admin"}
    for key in (access.keys["author"], access.keys["video"]):
        answer = await access.ask("POST", "/flow/keys/add.json", key, **query)
        assert answer.status_code == 403
    unknown = await access.ask("POST", "/flow/keys/revoke.json", FIRST, name="nobody")
    assert unknown.status_code == 404


async def test_a_server_without_a_key_makes_none() -> None:
    async with served() as api:
        await api.run(PASS)
        query = {"name": "a", "role": "viewer"}
        status, _, text = await api.refusal("/flow/keys/add.json", **query)
        assert (status, "this server has no API key" in text) == (400, True)


def test_places_are_shared_by_keys_by_name_and_those_without_have_theirs_by_address() -> None:
    here, there = {"client": ("127.0.0.1", 1)}, {"client": ("192.0.2.1", 1)}
    named = {CALLER: Caller(name="a", key_id="12")}
    assert share_of(here) == ""
    assert share_of(there) == "192.0.2.1"
    assert share_of(here | named) == share_of(there | named) == "key 12"
    assert [share_of_places(share, 10, 3) for share in ("", "key 12", "192.0.2.1")] == [10, 5, 3]
    assert share_of_places("key 12", 10, 8) == 8


def test_fair_shares_are_those_of_keys_where_all_come_from_one_address() -> None:
    request = {"client": ("127.0.0.1", 1)}
    shares = {
        sender_of({**request, CALLER: Caller(name=name, key_id=key_id)})
        for name, key_id in (("a", "12"), ("b", "34"), ("", ""))
    }
    assert shares == {"key 12", "key 34", "127.0.0.1"}
