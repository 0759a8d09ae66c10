"""An input may refer to many artifacts, and costs the store one question for each different one."""

import io
import uuid
from collections import Counter
from typing import Any, ClassVar, Final

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from rillflow.artifacts.addresses import ArtifactSettings
from rillflow.artifacts.calls import MOST_ARTIFACTS, MOST_REFERENCES
from rillflow.artifacts.marks import LEAST_BYTES, KeyMark
from rillflow.artifacts.references import ArtifactReference
from rillflow.artifacts.store import ArtifactStore, execution_key
from rillflow.errors import GatewayError
from rillflow.gateways.http.artifact_inputs import with_addresses
from rillflow.jsontypes import decode_json, encode_json
from rillflow.ports.gateway import DispatchRequest

PROTOCOL: Final = "countedmemory"
EXECUTION: Final = "demo:film_c_1"


class CountedMemory(MemoryFileSystem):  # type: ignore[misc] # fsspec has no types
    """A store in memory that counts what it is asked for."""

    protocol = PROTOCOL
    asked: ClassVar[Counter[str]] = Counter()

    def exists(self, path: str, **options: Any) -> bool:
        """Count the question, and answer it."""
        self.asked[path.rpartition("/")[0].rpartition("/")[2]] += 1
        return bool(super().exists(path, **options))


fsspec.register_implementation(PROTOCOL, CountedMemory, clobber=True)


@pytest.fixture(name="settings")
def _settings() -> ArtifactSettings:
    CountedMemory.asked.clear()
    url = f"{PROTOCOL}://{uuid.uuid4().hex}"
    return ArtifactSettings(url, 1_000, 9_000, base_url="http://127.0.0.1", secrets=("s",))


def stored(settings: ArtifactSettings, execution_id: str) -> ArtifactReference:
    store = ArtifactStore(settings.store_url, max_bytes=99, execution_max_bytes=99)
    film = io.BytesIO(b"a film")
    return store.put(execution_key(execution_id), film, media_type="video/webm", name="a.webm")


def film_of(number: int) -> io.BytesIO:
    return io.BytesIO(b"film %d" % number)


def request(films: list[Any], execution_id: str = EXECUTION, **more: Any) -> DispatchRequest:
    return DispatchRequest(
        execution_id=execution_id,
        task="make",
        attempt=1,
        pattern="task_sync",
        resource_name="http://127.0.0.1/make",
        input=encode_json({"films": films}),
        **more,
    )


async def addressed(asked: DispatchRequest, settings: ArtifactSettings) -> list[Any]:
    given = decode_json((await with_addresses(asked, settings, now_ms=1_000)).input)
    assert isinstance(given, dict)
    films = given["films"]
    assert isinstance(films, list)
    return films


async def test_the_store_is_asked_once_for_references_to_the_same_artifact(
    settings: ArtifactSettings,
) -> None:
    film = stored(settings, "demo:film_c_0").json()
    CountedMemory.asked.clear()
    once = await addressed(request([film]), settings)
    questions = CountedMemory.asked.total()
    CountedMemory.asked.clear()
    often = await addressed(request([film] * MOST_REFERENCES), settings)
    assert CountedMemory.asked.total() <= questions
    assert often == once * MOST_REFERENCES
    [named] = await addressed(request([{**film, "name": "b.webm"}]), settings)
    assert "name=b.webm" in named["url"]


@pytest.mark.parametrize(
    "films",
    [
        [{"rillflow_artifact": f"{number:064x}"} for number in range(MOST_ARTIFACTS + 1)],
        [{"rillflow_artifact": "a" * 64}] * (MOST_REFERENCES + 1),
    ],
    ids=["different", "equal"],
)
async def test_an_input_with_very_many_references_is_refused(
    films: list[Any], settings: ArtifactSettings
) -> None:
    for reference in films[:MOST_ARTIFACTS]:
        _have(settings, reference["rillflow_artifact"])
    with pytest.raises(GatewayError, match=r"1000 artifacts, 10000 times"):
        await addressed(request(films), settings)


def _have(settings: ArtifactSettings, sha256: str) -> None:
    """Have the execution use an artifact already."""
    fs, root = fsspec.core.url_to_fs(settings.store_url)
    fs.pipe_file(f"{root}/data/{sha256}", b"a film")
    fs.pipe_file(f"{root}/references/{sha256}/{execution_key(EXECUTION)}", b"{}")


async def test_an_artifact_of_another_workspace_gets_an_address_only_in_a_sub_flow_of_it(
    settings: ArtifactSettings,
) -> None:
    film = stored(settings, "shop:film_c_0").json()
    with pytest.raises(GatewayError, match="is gone, or not of this workspace"):
        await addressed(request([film]), settings)
    from_shop = request([film], route=(("shop:parent_c_1", "call", "flow_sync"),))
    [given] = await addressed(from_shop, settings)
    assert given["url"].startswith("http://127.0.0.1/flow/artifacts/")


async def test_what_an_execution_begins_to_use_is_held_to_the_quota_of_its_workspace(
    settings: ArtifactSettings,
) -> None:
    film = stored(settings, "demo:film_c_0")
    settings = settings._replace(workspace_bytes=(("demo", 3 * LEAST_BYTES), ("other", 0)))
    own = film.json("")
    for number in (1, 2, 1):
        await with_addresses(request([own], f"demo:film_c_{number}"), settings, now_ms=0)
    message = "the quota artifact_bytes of the workspace demo is reached: 12288 bytes"
    with pytest.raises(GatewayError, match=message):
        await with_addresses(request([own], "demo:film_c_3"), settings, now_ms=0)
    await with_addresses(request([own], "demo:film_c_0"), settings, now_ms=0)
    store = ArtifactStore(settings.store_url, max_bytes=99, execution_max_bytes=99)
    assert not store.belongs(film.sha256, execution_key("demo:film_c_3"))


async def test_what_an_execution_begins_to_use_is_held_to_the_quota_of_its_key(
    settings: ArtifactSettings,
) -> None:
    film = stored(settings, "demo:film_c_0")
    store = ArtifactStore(settings.store_url, max_bytes=99, execution_max_bytes=99)
    key = KeyMark("k1", "few", LEAST_BYTES)
    for number in (1, 2):
        store.keys.keep(execution_key(f"demo:film_c_{number}"), key)
    own = film.json("")
    await with_addresses(request([own], "demo:film_c_1"), settings, now_ms=0)
    with pytest.raises(GatewayError, match="the quota artifact_bytes of the key few is reached"):
        await with_addresses(request([own], "demo:film_c_2"), settings, now_ms=0)
    await with_addresses(request([own], "demo:film_c_3"), settings, now_ms=0)
