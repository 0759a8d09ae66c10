"""A webhook starts an execution for each delivery of who has its secret, and nobody else."""

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from rillflow.triggers.signatures import ALGORITHMS
from tests.api.definition_texts import PASS
from tests.api.serving import Api, refusal_of, served
from tests.api.test_access import FIRST, shown

SECRET: Final = "of the webhook: ß"
HOOKS: Final = "/flow/hooks"
OURS: Final = "/flow/triggers"
BY_NAME: Final = "${secret:HOOK}"
GITHUB: Final = {"signature": "github", "secret": BY_NAME}
STRIPE: Final = {"signature": "stripe", "secret": BY_NAME}
SLACK: Final = {"signature": "slack", "secret": BY_NAME}
TOKEN: Final = {"signature": "token", "secret": BY_NAME, "header": "X-Gitlab-Token"}
NONE: Final = {"signature": "none"}
JSON: Final = {"Content-Type": "application/json"}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    (tmp_path / "HOOK").write_text(f"{SECRET}\n", encoding="utf-8")
    return tmp_path


async def put(api: Api, name: str, webhook: dict[str, Any], **more: Any) -> None:
    """Add a webhook that starts what ``PASS`` defines."""
    new = {"id": name, "descriptor_id": "shop:order", "webhook": webhook, **more}
    await api.post(f"{OURS}/add.json", new)


def of_github(body: bytes, delivery: str = "", secret: str = SECRET) -> dict[str, str]:
    """Return the headers of a delivery of GitHub."""
    mac = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {**JSON, "X-Hub-Signature-256": f"sha256={mac}", "X-GitHub-Event": "push"}
    return headers | ({"X-GitHub-Delivery": delivery} if delivery else {})


def of_stripe(api: Api, body: bytes, ahead_s: int = 0) -> dict[str, str]:
    """Return the headers of an event of Stripe."""
    at = api.clock.now_ms() // 1000 + ahead_s
    mac = hmac.new(SECRET.encode(), b"%d.%b" % (at, body), hashlib.sha256).hexdigest()
    return {**JSON, "Stripe-Signature": f"t={at},v1={mac}"}


def of_slack(api: Api, body: bytes, ahead_s: int = 0) -> dict[str, str]:
    """Return the headers of an event of Slack."""
    at = api.clock.now_ms() // 1000 + ahead_s
    mac = hmac.new(SECRET.encode(), b"v0:%d:%b" % (at, body), hashlib.sha256).hexdigest()
    return {**JSON, "X-Slack-Signature": f"v0={mac}", "X-Slack-Request-Timestamp": str(at)}


async def call(
    api: Api, name: str, body: bytes, headers: dict[str, Any], query: str = ""
) -> httpx.Response:
    return await api.client.post(f"{HOOKS}/{name}{query}", content=body, headers=headers)


async def started(response: httpx.Response) -> str:
    """Return the execution that was started."""
    assert response.status_code == 202, response.text
    assert set(response.json()) == {"execution_id"}
    return str(response.json()["execution_id"])


async def count_of(api: Api) -> int:
    """Return how many executions there are."""
    found = await api.get("/flow/bg/get_execution_ids.json", business="shop", feature="order")
    return len(found["items"])


async def noted(api: Api, is_noted: Callable[[Any], Any]) -> Any:
    """Return the trigger ``push`` once what it has done is noted."""
    async with asyncio.timeout(60):
        row = await api.get(f"{OURS}/show.json", trigger_id="push")
        while not is_noted(row):
            row = await api.get(f"{OURS}/show.json", trigger_id="push")
    return row


async def test_a_signed_delivery_starts_an_execution_with_its_body(secrets: Path) -> None:
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        await put(api, "push", GITHUB, context={"a": 1, "b": 1})
        body = b'{"b": 2, "ref": "main"}'
        execution = await started(await call(api, "push", body, of_github(body, "d1")))
        context = (await api.ended(execution))["context"]
        assert (context["a"], context["b"], context["ref"]) == (1, 2, "main")


async def test_a_mapping_takes_headers_query_and_body_apart(secrets: Path) -> None:
    mapping = {
        "event": "$.headers['x-github-event']",
        "page": "$.query.page",
        "first": "$.body.commits[0].id",
        "whole": "$.body",
        "nothing": "$.body.nothing",
        "names": "$.headers",
    }
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        await put(api, "push", {**GITHUB, "mapping": mapping}, context={"kept": True})
        body = b'{"commits": [{"id": "c1"}]}'
        headers = of_github(body) | {
            "Cookie": "session=1",
            "Authorization": "Basic eA==",
            "X-Rillflow-Api-Key": "key",
            "X-Rillflow-Session": "half",
            "X-Amz-Security-Token": "token",
        }
        response = await call(api, "push", body, headers, "?page=1&page=2")
        context = (await api.ended(await started(response)))["context"]
        assert (context["event"], context["page"], context["first"]) == ("push", "2", "c1")
        assert context["whole"] == {"commits": [{"id": "c1"}]}
        assert context["kept"] is True
        assert "nothing" not in context
        hidden = {"cookie", "authorization", "x-rillflow-api-key", "x-hub-signature-256"}
        hidden |= {"x-rillflow-session", "x-amz-security-token"}
        assert not hidden & set(context["names"]), "credentials are for the webhook only"
        assert "content-type" in context["names"]


async def test_a_wrong_signature_starts_nothing_and_the_secret_is_never_shown(
    secrets: Path,
) -> None:
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        await put(api, "push", GITHUB)
        body = b'{"a": 1}'
        wrong = [
            of_github(body, secret="another"),
            of_github(body + b" "),
            {**of_github(body), "X-Hub-Signature-256": "sha256=00"},
            {**of_github(body), "X-Hub-Signature-256": of_github(body)["X-Hub-Signature-256"][7:]},
            JSON,
        ]
        for headers in wrong:
            response = await call(api, "push", body, headers)
            assert response.status_code == 401, response.text
            assert SECRET not in response.text
            assert refusal_of(response)[1] == 30108
        assert await count_of(api) == 0
        shown_trigger = await api.get(f"{OURS}/show.json", trigger_id="push")
        assert shown_trigger["webhook"] == GITHUB
        assert SECRET not in json.dumps(shown_trigger)


async def test_a_body_is_not_parsed_before_its_signature_is_right(secrets: Path) -> None:
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        await put(api, "push", GITHUB)
        for body in (b"no JSON", b"[" * 900_000, b'{"a":' * 100_000, b"\xff\xfe", b"9" * 900_000):
            assert (await call(api, "push", body, of_github(body, secret="x"))).status_code == 401
            response = await call(api, "push", body, of_github(body))
            assert response.status_code == 422, response.text
            assert "not JSON" in refusal_of(response)[2]


async def test_a_delivery_that_comes_again_finds_its_execution(secrets: Path) -> None:
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        await put(api, "push", {**GITHUB, "mapping": {"try": "$.headers.x-try", "a": "$.body.a"}})
        body = b'{"a": 1}'
        first = await started(await call(api, "push", body, of_github(body, "d1")))
        again = of_github(body, "d1") | {"X-Try": "2"}
        assert await started(await call(api, "push", body, again)) == first
        assert await started(await call(api, "push", body, of_github(body, "d2"))) != first
        assert await count_of(api) == 2
        await put(api, "other", GITHUB)
        assert await started(await call(api, "other", body, of_github(body, "d1"))) != first


async def test_deliveries_at_the_same_time_start_one_execution(secrets: Path) -> None:
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        await put(api, "push", GITHUB)
        body = b'{"a": 1}'
        calls = [call(api, "push", body, of_github(body, "d1")) for _ in range(20)]
        assert len({await started(each) for each in await asyncio.gather(*calls)}) == 1
        assert await count_of(api) == 1


async def test_without_an_id_the_same_body_is_the_same_delivery_for_a_window(
    secrets: Path,
) -> None:
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        await put(api, "gitlab", {**TOKEN, "replay_window_s": 100})
        headers: dict[str, Any] = {**JSON, "X-Gitlab-Token": SECRET.encode()}
        api.clock.stop()
        first = await started(await call(api, "gitlab", b'{"a": 1}', headers))
        for ahead_s in (1, 98, 1):
            api.clock.advance(ahead_s)
            assert await started(await call(api, "gitlab", b'{"a": 1}', headers)) == first
        assert await started(await call(api, "gitlab", b'{"a": 2}', headers)) != first
        api.clock.advance(200)
        assert await started(await call(api, "gitlab", b'{"a": 1}', headers)) != first


async def test_a_signed_time_counts_within_the_window_and_ids_in_bodies_are_used(
    secrets: Path,
) -> None:
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        await put(api, "pay", STRIPE)
        await put(api, "chat", SLACK)
        api.clock.stop()
        for name, sign, field in (("pay", of_stripe, "id"), ("chat", of_slack, "event_id")):
            body = json.dumps({field: "e1", "a": 1}).encode()
            first = await started(await call(api, name, body, sign(api, body)))
            for off_s in (-300, 300):
                assert await started(await call(api, name, body, sign(api, body, off_s))) == first
            later = json.dumps({field: "e1", "a": 1, "attempt": 2}).encode()
            assert await started(await call(api, name, later, sign(api, later))) == first
            for off_s in (-301, 301, -10_000_000):
                response = await call(api, name, body, sign(api, body, off_s))
                assert response.status_code == 401
                assert "up to 300 s count" in refusal_of(response)[2]
            replayed = sign(api, body)
            api.clock.advance(301)
            assert (await call(api, name, body, replayed)).status_code == 401


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_other_senders_sign_with_a_header_and_an_algorithm_of_theirs(
    secrets: Path, algorithm: str
) -> None:
    webhook = {
        "signature": "hmac",
        "secret": BY_NAME,
        "header": "X-Sign",
        "prefix": "v1=",
        "algorithm": algorithm,
        "encoding": "base64",
        "timestamp_header": "X-At",
        "delivery_header": "X-Id",
    }
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        await put(api, "any", webhook)
        at = str(api.clock.now_ms() // 1000)
        mac = hmac.new(SECRET.encode(), f"{at}.{{}}".encode(), getattr(hashlib, algorithm))
        sign = f"v1={base64.b64encode(mac.digest()).decode()}"
        headers = {**JSON, "X-Sign": sign, "X-At": at, "X-Id": "7"}
        first = await started(await call(api, "any", b"{}", headers))
        assert await started(await call(api, "any", b"{}", headers)) == first
        assert await started(await call(api, "any", b"{}", headers | {"X-Id": "8"})) != first
        assert (await call(api, "any", b"{}", headers | {"X-At": "1"})).status_code == 401


async def test_what_only_tries_the_address_starts_nothing(secrets: Path) -> None:
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        await put(api, "push", GITHUB)
        await put(api, "chat", SLACK)
        body = b'{"zen": "x"}'
        response = await call(api, "push", body, of_github(body) | {"X-GitHub-Event": "ping"})
        assert (response.status_code, response.json()) == (200, {"result": "pong"})
        unsigned = {**JSON, "X-GitHub-Event": "ping"}
        assert (await call(api, "push", body, unsigned)).status_code == 401
        body = b'{"type": "url_verification", "challenge": "3eZbrw1a", "token": "t"}'
        response = await call(api, "chat", body, of_slack(api, body))
        assert (response.status_code, response.json()) == (200, {"challenge": "3eZbrw1a"})
        assert (await call(api, "chat", body, JSON)).status_code == 401
        body = b'{"type": "url_verification", "challenge": ["x"]}'
        assert (await call(api, "chat", body, of_slack(api, body))).status_code == 400
        assert await count_of(api) == 0


async def test_with_wait_s_the_answer_is_the_end_of_the_execution(secrets: Path) -> None:
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        await put(api, "push", {**GITHUB, "wait_s": 60})
        body = b'{"a": 1}'
        for _ in range(2):
            response = await call(api, "push", body, of_github(body, "d1"))
            assert response.status_code == 200
            assert response.json()["ret"]["dag_status"] == "SUCCEED"
            assert response.json()["ret"]["context"]["a"] == 1
        assert await count_of(api) == 1


async def test_a_paused_webhook_asks_to_come_again_and_a_removed_one_is_gone(
    secrets: Path,
) -> None:
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        await put(api, "push", GITHUB)
        body = b"{}"
        await api.post(f"{OURS}/pause.json", trigger_id="push")
        response = await call(api, "push", body, of_github(body))
        assert (response.status_code, response.headers["Retry-After"]) == (503, "60")
        await api.post(f"{OURS}/resume.json", trigger_id="push")
        await started(await call(api, "push", body, of_github(body)))
        listed = await api.get(f"{OURS}/list.json")
        assert [(each["id"], each["type"]) for each in listed["triggers"]] == [("push", "webhook")]
        await api.post(f"{OURS}/remove.json", trigger_id="push")
        assert (await call(api, "push", body, of_github(body))).status_code == 404


async def test_an_unknown_name_tells_nothing(secrets: Path) -> None:
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        await api.post(f"{OURS}/add.json", {"id": "n", "descriptor_id": "a:b", "cron": "@daily"})
        await put(api, "push", GITHUB)
        names = ("nowhere", "n", "Push", "push.", "a:b:c:d", "a:b", "%70ush%20", "x" * 101, "é")
        texts = set()
        for name in names:
            response = await call(api, name, b"{}", of_github(b"{}"))
            assert response.status_code == 404, name
            texts.add(response.text)
        assert len(texts) == 1, "whatever is asked for, the answer is the same"
        for path in ("/flow/hooks", "/flow/hooks/push/more", "/flow/hooks/a%2Fpush"):
            assert (await api.client.post(path)).status_code == 404
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            for name in ("push", "nowhere"):
                response = await api.client.request(method, f"{HOOKS}/{name}")
                assert refusal_of(response)[:2] == (422, 30105)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "application/octet-stream"}, b"x", 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--", 415),
        ({"Content-Type": "image/png"}, b"x", 415),
        ({**JSON, "Content-Encoding": "gzip"}, gzip.compress(b"{}", mtime=0), 415),
        ({}, b"neither", 415),
        ({}, b'{"a": 1}', 202),
        ({"Content-Type": "text/plain"}, b"words", 202),
        ({"Content-Type": "text/plain; charset=latin-1"}, b"\xdf", 202),
        ({"Content-Type": "text/plain"}, b"\xff", 422),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"a=1&b=2", 202),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"a=1&" * 2_000, 422),
        ({"Content-Type": "application/cloudevents+json; charset=utf-8"}, b'{"a": 1}', 202),
        (JSON, b"[1, 2]", 202),
        (JSON, b"", 202),
    ],
)
async def test_a_body_is_json_a_form_or_text(
    headers: dict[str, str], body: bytes, status: int
) -> None:
    async with served() as api:
        await api.add(PASS)
        await put(api, "open", NONE)
        response = await call(api, "open", body, headers)
        assert response.status_code == status, response.text


async def test_a_body_has_the_limit_of_the_server_or_a_lower_one() -> None:
    async with served(submit_max_bytes=10_000) as api:
        await api.add(PASS)
        await put(api, "open", NONE)
        await put(api, "small", {**NONE, "max_body_bytes": 100})
        await put(api, "large", {**NONE, "max_body_bytes": 1 << 20})
        text = {"Content-Type": "text/plain"}
        for name, most in (("open", 10_000), ("small", 100), ("large", 10_000)):
            response = await call(api, name, b"x" * (most + 1), text)
            assert response.status_code == 413
            assert f"up to {most} bytes" in response.json()["hint"]

            async def parts(size: int = most + 1) -> Any:
                for _ in range(size):
                    yield b"x"

            response = await api.client.post(f"{HOOKS}/{name}", content=parts(), headers=text)
            assert response.status_code == 413


async def test_data_that_a_mapping_repeats_have_the_limit_of_a_submission() -> None:
    paths = {f"x{number}": "$.body" for number in range(50)}
    async with served(submit_max_bytes=100_000) as api:
        await api.add(PASS)
        await put(api, "open", {**NONE, "mapping": paths})
        await started(await call(api, "open", b'{"a": 1}', JSON))
        body = json.dumps({"a": "x" * 10_000}).encode()
        response = await call(api, "open", body, JSON)
        assert response.status_code == 413
        assert "more than 100000 bytes" in refusal_of(response)[2]


async def test_paths_that_take_too_long_are_refused() -> None:
    paths = {f"x{number}": "$..a[?(@.b == 1)]" for number in range(50)}
    async with served() as api:
        await api.add(PASS)
        await put(api, "open", {**NONE, "mapping": paths})
        body = json.dumps({"a": [{"b": 2}] * 80_000}).encode()
        response = await call(api, "open", body, JSON)
        assert response.status_code in (413, 422), response.text


async def test_a_page_of_a_stranger_reaches_a_webhook_with_a_signature_only(
    secrets: Path,
) -> None:
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        await put(api, "push", GITHUB)
        await put(api, "open", NONE)
        foreign: list[dict[str, str]] = [
            {"Origin": "https://evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Host": "flows.example.com"},
            {"X-Rillflow-Redirected": "true"},
        ]
        for sender in foreign:
            body = json.dumps(sender).encode()
            await started(await call(api, "push", body, of_github(body) | sender))
            response = await call(api, "open", body, JSON | sender)
            assert response.status_code == 403, sender
            assert "Access-Control-Allow-Origin" not in response.headers
        await started(await call(api, "open", b"{}", JSON))


async def test_with_an_api_key_webhooks_are_called_without_it(secrets: Path) -> None:
    async with served(api_key=FIRST, secrets_dir=secrets) as api:
        api.client.headers.update(shown(FIRST))
        await api.add(PASS)
        await put(api, "push", GITHUB)
        bearer = {**TOKEN, "header": "Authorization", "prefix": "Bearer "}
        await put(api, "bearer", bearer)
        for name in shown(FIRST):
            del api.client.headers[name]
        body = b"{}"
        await started(await call(api, "push", body, of_github(body)))
        token: dict[str, Any] = {**JSON, "Authorization": f"Bearer {SECRET}".encode()}
        await started(await call(api, "bearer", body, token))
        wrong = {**JSON, "Authorization": "Bearer wrong", "Cookie": "rillflow=1"}
        assert (await call(api, "bearer", body, wrong)).status_code == 401
        assert (await api.client.get(f"{OURS}/list.json")).status_code == 401


async def test_a_secret_that_is_not_known_is_told_to_operators_only(secrets: Path) -> None:
    async with served(secrets_dir=secrets) as api:
        await api.add(PASS)
        await put(api, "push", {**GITHUB, "secret": "${secret:ABSENT}"})
        response = await call(api, "push", b"{}", of_github(b"{}"))
        assert response.status_code == 503
        assert "ABSENT" not in response.text
        row = await noted(api, lambda row: row["error"])
        assert "ABSENT is not known" in row["error"]
        (secrets / "ABSENT").write_text(SECRET, encoding="utf-8")
        await started(await call(api, "push", b"{}", of_github(b"{}")))
        row = await noted(api, lambda row: row["fired"])
        assert (row["fired"], row["error"]) == (1, "")


async def test_what_an_execution_refuses_is_told(secrets: Path) -> None:
    async with served(secrets_dir=secrets) as api:
        await put(api, "push", GITHUB)
        response = await call(api, "push", b"{}", of_github(b"{}"))
        assert response.status_code == 400
        assert "shop:order" in response.text
