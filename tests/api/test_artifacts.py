"""Tasks pass files to each other by references; who has neither key nor address reads none."""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from rillflow import Artifact
from rillflow.artifacts.calls import ArtifactAccess
from rillflow.artifacts.store import ArtifactStore, execution_key
from rillflow.functions import Functions
from rillflow.jsontypes import decode_json, encode_json
from rillflow.ray_tasks.targets import FunctionTarget
from rillflow.ray_tasks.worker import FunctionCall, call_function
from rillflow.testing import FunctionRequest
from tests.api.serving import Api, listening, served

FILM: Final = b"a film of some bytes"
SHA256: Final = hashlib.sha256(FILM).hexdigest()
FLOW: Final = """
workspace: demo
dagName: films
type: flow
tasks:
  - name: make
    category: function
    pattern: PATTERN
    resourceName: URL/make
    outputMappings: [{ source: $.output.film, target: $.context.film }]
    next: measure
  - name: measure
    category: function
    pattern: PATTERN
    resourceName: URL/measure
    inputMappings: [{ source: $.context.film, target: $.input.film }]
    outputMappings: [{ source: $.output, target: $.context.measured }]
"""


def kit() -> Functions:
    app = Functions()

    @app.function
    def make() -> dict[str, Any]:
        return {"film": Artifact(FILM, "video/webm", "film.webm")}

    @app.function
    def measure(film: Artifact) -> dict[str, Any]:
        with film.open() as content:
            begin = content.read(6).decode()
        return {"begin": begin, "bytes": len(film.read()), "type": film.media_type, "film": film}

    return app


@asynccontextmanager
async def functions(app: Functions) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        async with listening(door, app):
            yield f"http://127.0.0.1:{door.getsockname()[1]}"


def flow(url: str, pattern: str = "task_sync") -> str:
    return FLOW.replace("URL", url).replace("PATTERN", pattern)


async def _got(api: Api, path: str, **headers: str) -> httpx.Response:
    return await api.client.get(path, headers=headers)


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
async def test_functions_over_http_pass_a_file_by_its_reference(
    pattern: str, tmp_path: Path
) -> None:
    async with served(data_dir=tmp_path, callback_keys=("k" * 32,)) as api, functions(kit()) as url:
        ended = await api.ended(await api.submit(await api.add(flow(url, pattern))))
        context = ended["context"]
        reference = {
            "rillflow_artifact": SHA256,
            "bytes": len(FILM),
            "media_type": "video/webm",
            "name": "film.webm",
        }
        assert context["film"] == reference
        assert context["measured"] == {
            "begin": "a film",
            "bytes": len(FILM),
            "type": "video/webm",
            "film": reference,
        }
        assert ended["artifacts"] == {"count": 1, "bytes": len(FILM)}


@pytest.fixture(name="api_with_film")
async def _api_with_film(tmp_path: Path) -> AsyncIterator[tuple[Api, dict[str, str]]]:
    """An API with keys and an artifact, and what a function was given to fetch it."""
    seen: list[dict[str, Any]] = []

    def measure(request: FunctionRequest) -> dict[str, Any]:
        given: dict[str, Any] = request.json()
        seen.append(given["film"])
        return given

    options: dict[str, Any] = {"api_key": "the-key-of-this-server", "callback_keys": ("k" * 32,)}
    async with served({"measure": measure}, data_dir=tmp_path, **options) as api:
        api.client.headers["X-Rillflow-Api-Key"] = options["api_key"]
        store = ArtifactStore(
            f"file://{tmp_path}/artifacts", max_bytes=10_000, execution_max_bytes=99_000
        )
        with (tmp_path / "film").open("wb+") as film:
            film.write(FILM)
            film.seek(0)
            reference = store.put(
                execution_key("demo:film_c_0"), film, media_type="video/webm", name="film.webm"
            )
        text = FLOW.replace("URL/measure", f"{api.gateway.url}/function/measure")
        text = text.partition("  - name: make")[0] + text[text.index("  - name: measure") :]
        text = text.replace("PATTERN", "task_sync")
        ended = await api.ended(await api.submit(await api.add(text), {"film": reference.json()}))
        assert ended["dag_status"] == "SUCCEED"
        assert "seal" not in str(ended["context"]).replace("seal=***", "")
        yield api, seen[0]


async def test_an_address_of_a_function_opens_one_artifact_for_a_time_without_the_key(
    api_with_film: tuple[Api, dict[str, str]],
) -> None:
    api, film = api_with_film
    async with httpx.AsyncClient() as http:
        answer = await http.get(film["url"])
        assert (answer.status_code, answer.content) == (200, FILM)
        assert answer.headers["content-type"] == "video/webm"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert answer.headers["content-disposition"] == 'inline; filename="film.webm"'
        for changed in (
            film["url"].partition("?")[0],
            film["url"].replace("seal=", "seal=x"),
            film["url"].replace("expires=1", "expires=2"),
            film["url"].replace("video%2Fwebm", "text%2Fhtml"),
            film["url"].replace(SHA256, "0" * 64),
        ):
            assert changed != film["url"]
            refused = await http.get(changed)
            assert refused.status_code == 403, changed
        assert (
            await http.get(f"{film['url'].partition('?')[0]}/../../get.json")
        ).status_code != 200
    api.clock.advance(3_000_000)
    async with httpx.AsyncClient() as http:
        assert (await http.get(film["url"])).status_code == 403


async def test_who_has_the_key_reads_any_artifact_and_parts_of_it(
    api_with_film: tuple[Api, dict[str, str]],
) -> None:
    api, _ = api_with_film
    path = f"/flow/artifacts/{SHA256}"
    answer = await _got(api, path)
    assert (answer.status_code, answer.content) == (200, FILM)
    for asked, status, content in (
        ("bytes=2-5", 206, FILM[2:6]),
        ("bytes=15-", 206, FILM[15:]),
        ("bytes=-4", 206, FILM[-4:]),
        ("bytes=0-999999", 206, FILM),
        ("bytes=0-0,2-2", 200, FILM),
        ("lines=0-1", 200, FILM),
        ("bytes=-", 200, FILM),
        ("bytes=20-30", 416, b""),
        ("bytes=5-2", 416, b""),
        ("bytes=-0", 416, b""),
    ):
        answer = await _got(api, path, Range=asked)
        assert (answer.status_code, answer.content) == (status, content), asked
    answer = await _got(api, path, Range="bytes=2-5")
    assert answer.headers["content-range"] == f"bytes 2-5/{len(FILM)}"
    for unknown in ("0" * 64, "..%2f..%2frillflow.db", "x"):
        assert (await _got(api, f"/flow/artifacts/{unknown}")).status_code == 404


async def test_who_has_an_artifact_already_gets_no_bytes_again(
    api_with_film: tuple[Api, dict[str, str]],
) -> None:
    api, film = api_with_film
    path = f"/flow/artifacts/{SHA256}"
    tag = (await _got(api, path)).headers["etag"]
    for given in (tag, f"W/{tag}", f'"other", {tag}'):
        for place in (path, film["url"]):
            answer = await _got(api, place, **{"If-None-Match": given})
            assert (answer.status_code, answer.content) == (304, b""), (given, place)
            assert answer.headers["etag"] == tag
            assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    for given in ('"other"', SHA256, "*"):
        answer = await _got(api, path, **{"If-None-Match": given})
        assert (answer.status_code, answer.content) == (200, FILM), given
    for given, status, content in ((tag, 206, FILM[2:6]), ('"other"', 200, FILM)):
        answer = await _got(api, path, **{"If-Range": given, "Range": "bytes=2-5"})
        assert (answer.status_code, answer.content) == (status, content), given
    unknown = "0" * 64
    answer = await _got(api, f"/flow/artifacts/{unknown}", **{"If-None-Match": f'"{unknown}"'})
    assert answer.status_code == 404
    api.client.headers.pop("X-Rillflow-Api-Key")
    assert (await _got(api, path, **{"If-None-Match": tag})).status_code == 403


async def test_a_key_for_one_workspace_reads_what_executions_of_it_use(
    api_with_film: tuple[Api, dict[str, str]],
) -> None:
    api, _ = api_with_film
    path = f"/flow/artifacts/{SHA256}"
    [execution] = (
        await api.get("/flow/get_execution_ids.json", service_id="demo:films", type="succeed")
    )["execution_ids"]
    own = {"execution_id": execution["execution_id"]}
    for workspace, named, status in (
        ("demo", own, 200),
        ("demo", {}, 403),
        ("demo", {"execution_id": "demo:films_c_1"}, 403),
        ("shop", own, 403),
        ("shop", {}, 403),
    ):
        name = f"{workspace}-{status}-{len(named)}-{len(str(named))}"
        key = {"name": name, "role": "viewer", "workspaces": workspace}
        made = (await api.client.post("/flow/keys/add.json", params=key)).json()["key"]
        async with httpx.AsyncClient(base_url=api.client.base_url) as http:
            headers = {"X-Rillflow-Api-Key": made}
            answer = await http.get(path, params=named, headers=headers)
            assert answer.status_code == status, (workspace, named, answer.text)


async def test_a_function_without_the_seal_of_its_address_stores_nothing(tmp_path: Path) -> None:
    addresses: list[str] = []

    def make(request: FunctionRequest) -> dict[str, Any]:
        addresses.append(request.headers["X-Callback-Url"])
        return {}

    settings: dict[str, Any] = {"callback_keys": ("k" * 32,), "artifact_max_bytes": 1_000}
    async with served({"make": make}, data_dir=tmp_path, **settings) as api:
        text = FLOW.partition("    next: measure")[0].replace("PATTERN", "task_async")
        await api.submit(await api.add(text.replace("URL", f"{api.gateway.url}/function")))
        while not addresses:  # noqa: ASYNC110 - until the function has been called
            await asyncio.sleep(0)
        url = addresses[0].replace("/flow/trigger.json", "/flow/artifacts")
        async with httpx.AsyncClient() as http:
            stored = await http.post(f"{url}&media_type=text/html&name=a.html", content=FILM)
            assert stored.json()["rillflow_artifact"] == SHA256
            assert (await http.post(url, content=b"x" * 1_001)).status_code == 413
            assert (
                await http.post(url.replace("seal=", "seal=x"), content=FILM)
            ).status_code == 403
            other = url.replace("task_name=make", "task_name=other")
            assert (await http.post(other, content=FILM)).status_code == 403
        page = await _got(api, f"/flow/artifacts/{SHA256}")
        assert page.headers["content-disposition"] == 'attachment; filename="a.html"'


async def test_an_artifact_that_is_lost_fails_the_task_that_needs_it_with_its_name(
    tmp_path: Path,
) -> None:
    lost = {"rillflow_artifact": "a" * 64, "bytes": 3, "media_type": "a/b", "name": "lost.webm"}
    async with served(data_dir=tmp_path) as api, functions(kit()) as url:
        text = (
            flow(url).partition("  - name: make")[0] + flow(url)[flow(url).index("  - name: mea") :]
        )
        ended = await api.ended(await api.submit(await api.add(text), {"film": lost}))
        assert ended["dag_status"] == "FAILED"
        assert (
            "the artifact lost.webm (aaaaaaaaaaaa) is gone"
            in (ended["tasks"]["measure"]["invoke_msg"]["msg"])
        )


async def test_whoever_names_an_artifact_of_another_workspace_is_told_as_if_it_were_lost(
    tmp_path: Path,
) -> None:
    async with served(data_dir=tmp_path) as api, functions(kit()) as url:
        made = await api.ended(await api.submit(await api.add(flow(url))))
        assert made["dag_status"] == "SUCCEED"
        text = (
            flow(url).partition("  - name: make")[0] + flow(url)[flow(url).index("  - name: mea") :]
        )
        told = {}
        for workspace in ("demo", "shop"):
            added = await api.add(text.replace("workspace: demo", f"workspace: {workspace}"))
            for sha256 in (SHA256, "0" * 64):
                film = {**made["context"]["film"], "rillflow_artifact": sha256}
                ended = await api.ended(await api.submit(added, {"film": film}))
                message = ended["tasks"]["measure"].get("invoke_msg", {}).get("msg") or ""
                shown = message.replace(sha256[:12], "")
                told[workspace, sha256] = ended["dag_status"], shown
        assert told["demo", SHA256] == ("SUCCEED", "")
        assert told["shop", SHA256][0] == "FAILED"
        assert told["shop", SHA256] == told["shop", "0" * 64] == told["demo", "0" * 64]


MODULE: Final = """
from pathlib import Path

import numpy
from PIL import Image
from rillflow import Artifact


def make(folder: str):
    file = Path(folder) / "film.webm"
    file.write_bytes(b"a film of some bytes")
    return {
        "file": file,
        "bytes": b"some bytes",
        "array": numpy.arange(6).reshape(2, 3),
        "number": numpy.float64(0.5),
        "image": [Image.new("RGB", (2, 3))],
        "text": "text",
    }


def measure(film: Artifact, others: list[Artifact] = ()) -> int:
    return len(film.read()) + sum(other.size_bytes for other in others)


def keep(film: Artifact, folder: str) -> Artifact:
    return Artifact(film.save(folder))
"""


def _called(access: ArtifactAccess, name: str, path: Path, **fields: Any) -> dict[str, Any]:
    target = FunctionTarget("functions_with_artifacts", name)
    call = FunctionCall(
        target,
        encode_json(fields),
        ("functions_with_artifacts",),
        (str(path),),
        10_000_000,
        artifacts=access,
    )
    done = decode_json(call_function(call).body)
    assert isinstance(done, dict)
    return done


def test_functions_of_ray_get_opened_artifacts_and_return_files_bytes_arrays_and_images(
    tmp_path: Path,
) -> None:
    (tmp_path / "functions_with_artifacts.py").write_text(MODULE, encoding="utf-8")
    access = ArtifactAccess(f"file://{tmp_path}/artifacts", 10_000, 20_000, execution_key("e"))
    made = _called(access, "make", tmp_path, folder=str(tmp_path))
    assert made["file"] == {
        "rillflow_artifact": SHA256,
        "bytes": len(FILM),
        "media_type": "video/webm",
        "name": "film.webm",
    }
    kinds = {name: each.get("media_type") for name, each in made.items() if isinstance(each, dict)}
    assert kinds == {
        "file": "video/webm",
        "bytes": "application/octet-stream",
        "array": "application/x-npy",
    }
    assert made["image"][0]["media_type"] == "image/png"
    assert (made["number"], made["text"]) == (0.5, "text")
    others = [made["bytes"], made["array"]]
    measured = _called(access, "measure", tmp_path, film=made["file"], others=others)
    assert measured == {"data": len(FILM) + 10 + made["array"]["bytes"]}
    (tmp_path / "copies").mkdir()
    kept = _called(access, "keep", tmp_path, film=made["file"], folder=str(tmp_path / "copies"))
    assert kept == made["file"]
    store = ArtifactStore(access.store_url, max_bytes=1, execution_max_bytes=1)
    assert store.total_of(execution_key("e"))[0] == 4
    wrong = _called(access, "measure", tmp_path, film={"rillflow_artifact": "x"})
    assert wrong["error"]["type"] == "FunctionInputError"
    lost = _called(
        access, "measure", tmp_path, film={**made["file"], "rillflow_artifact": "b" * 64}
    )
    assert lost["error"] == {
        **lost["error"],
        "type": "ArtifactLostError",
        "message": "the artifact film.webm (bbbbbbbbbbbb) is gone, or not of this workspace",
    }
