"""The console's page needs no key and runs only its own files; its session is worth the key.

A browser sends the cookie of a session by itself, so the session counts for requests of this
server's pages only.
"""

import gzip
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx
import pytest
import pytest_asyncio

from serve.forms.console_sessions import COOKIE, LIFE_S
from serve.routes.console_pages import FILES, STATIC
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


async def signed_in(api: Api) -> str:
    """Begin a session, and return its cookie."""
    answer = await api.client.post(SIGN_IN, json={"key": KEY}, headers=OURS)
    assert answer.status_code == 200, answer.text
    api.client.cookies.clear()
    return answer.headers["set-cookie"].partition(";")[0]


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
    assert (await plain.client.get(SESSION)).json() == {"key_needed": False, "signed_in": True}


@MODULE_LOOP
async def test_the_key_begins_a_session_that_is_worth_it(keyed: Api) -> None:
    answer = await keyed.client.post(SIGN_IN, json={"key": KEY}, headers=OURS)
    keyed.client.cookies.clear()
    cookie = answer.headers["set-cookie"]
    assert KEY not in cookie
    for part in ("HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={LIFE_S}"):
        assert part in cookie
    assert "Secure" not in cookie
    mine = OURS | {"Cookie": cookie.partition(";")[0]}
    assert (await keyed.client.get(DATA, headers=mine)).status_code == 200
    state = await keyed.client.get(SESSION, headers=mine)
    assert state.json() == {"key_needed": True, "signed_in": True}


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
    cookie = await signed_in(keyed)
    answer = await keyed.client.post(SIGN_OUT, headers=OURS | {"Cookie": cookie})
    assert answer.headers["set-cookie"].startswith(f"{COOKIE}=; ")
    assert "Max-Age=0" in answer.headers["set-cookie"]


async def test_a_session_ends_by_itself() -> None:
    async with served(api_key=KEY) as api:
        mine = OURS | {"Cookie": await signed_in(api)}
        assert (await api.client.get(DATA, headers=mine)).status_code == 200
        api.clock.advance(LIFE_S + 1)
        assert (await api.client.get(DATA, headers=mine)).status_code == 401


async def test_another_key_ends_all_sessions() -> None:
    async with served(api_key="another") as other, served(api_key=KEY) as api:
        mine = OURS | {"Cookie": await signed_in(api)}
        assert (await other.client.get(DATA, headers=mine)).status_code == 401


@MODULE_LOOP
async def test_a_forged_session_is_none(keyed: Api) -> None:
    name, _, value = (await signed_in(keyed)).partition("=")
    ends, _, seal = value.partition(".")
    forged = [
        "",
        ends,
        f"{ends}.",
        f"{int(ends) + 1}.{seal}",
        f"{ends}.{seal[:-1]}",
        f"{ends}.{seal}0",
        f"{'9' * 400}.{seal}",
        f"-1.{seal}",
        f"²{ends}.{seal}",
        f".{seal}",
        f"{ends}.{'0' * 64}",
    ]
    for each in forged:
        cookie = f"{name}={each}".encode()
        answer = await keyed.client.get(DATA, headers=[(b"Cookie", cookie)])
        assert answer.status_code == 401, each


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
    mine = headers | {"Cookie": await signed_in(keyed)}
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
    cookie = {"Cookie": await signed_in(keyed)}
    ours = {"Origin": f"http://127.0.0.1:{keyed.stack.settings.port}"}
    params = {"execution_id": "shop:order_c_8f0f9c00-0000-11f0-8000-000000000000"}

    async def cancel(**headers: str) -> httpx.Response:
        return await keyed.client.post("/flow/cancel.json", params=params, headers=headers)

    assert (await cancel(**cookie)).status_code == 403
    for headers in (ours, OURS, ours | OURS):
        assert refusal_of(await cancel(**cookie, **headers))[1] == 30605, headers
    assert (await keyed.client.get(DATA, headers=cookie)).status_code == 200


@MODULE_LOOP
async def test_the_key_in_a_header_wins_over_a_session(keyed: Api) -> None:
    foreign = {"Origin": "https://evil.example", "Cookie": await signed_in(keyed)}
    with_key = foreign | {"Authorization": f"Bearer {KEY}"}
    assert (await keyed.client.get(DATA, headers=with_key)).status_code == 200
    wrong = foreign | {"Authorization": "Bearer wrong"}
    assert (await keyed.client.get(DATA, headers=wrong)).status_code == 401


def test_the_files_are_those_that_the_page_can_ask_for() -> None:
    assert sorted(path.suffix for path in FILES.iterdir()).count(".js") > 3
    assert {path.suffix for path in FILES.iterdir()} <= {".js", ".css", ".svg"}
    assert not [path for path in STATIC.rglob("*.map") if isinstance(path, Path)]
