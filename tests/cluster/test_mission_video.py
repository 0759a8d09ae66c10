"""Text to video, with the example's own functions as a process: a film comes out that plays, and
another graph of the same functions needs only another YAML."""

import io
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import av
import httpx
import pytest

from tests.cluster.api import Api, Ended
from tests.cluster.processes import OwnStack, function_server

pytestmark = pytest.mark.cluster

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "text-to-video"


class Studio:
    """The example's functions, and the server that has the files that they make."""

    def __init__(self, url: str, server: str) -> None:
        self.url = url
        self._server = server

    def workflow(self, name: str) -> str:
        """One of the example's definitions, with the address of these functions."""
        text = (EXAMPLE / name).read_text(encoding="utf-8")
        return text.replace("http://127.0.0.1:8081", self.url)

    def fetch(self, artifact: dict[str, Any]) -> bytes:
        """The content of an artifact."""
        path = f"/flow/artifacts/{artifact['rillflow_artifact']}"
        answer = httpx.get(f"{self._server}{path}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == artifact["media_type"]
        assert len(answer.content) == artifact["bytes"]
        return answer.content


@pytest.fixture(name="studio", scope="module")
def _studio(stack: OwnStack) -> Iterator[Studio]:
    with function_server(EXAMPLE / "functions.py") as url:
        yield Studio(url, stack.base_url)


def _called(ended: Ended, api: Api) -> list[str]:
    """The instances that ran, groups included."""
    names = [name for name, status in ended.task_statuses().items() if status == "SUCCEEDED"]
    for index, status in ended.task("filming")["sub_group_index_to_status"].items():
        assert status == "SUCCEED"
        names += api.group(ended.execution_id, "filming", int(index))
    return sorted(names)


def _pictures(film: bytes) -> int:
    with av.open(io.BytesIO(film), "r") as played:
        assert {stream.type for stream in played.streams} == {"video", "audio"}
        return len(list(played.decode(video=0)))


def test_a_text_becomes_a_film_with_sound_and_subtitles(api: Api, studio: Studio) -> None:
    ended = api.run(studio.workflow("workflow.yaml"), {"topic": "the sea", "scenes": 3})
    assert ended.status == "SUCCEED"
    result = ended.context["result"]
    with wave.open(io.BytesIO(studio.fetch(result["soundtrack"]))) as sound:
        seconds = sound.getnframes() / sound.getframerate()
    assert seconds == result["seconds"] > 3
    assert result["film"]["media_type"] == "video/webm"
    assert _pictures(studio.fetch(result["film"])) == result["frames"]
    assert abs(result["frames"] / 10 - seconds) <= 0.3
    captions = studio.fetch(result["captions"]).decode()
    spoken = " ".join(
        line for line in captions.splitlines() if line and not line[0].isdigit()
    ).lower()
    for scene in ended.context["script"]:
        assert scene["text"].lower() in spoken
    parts = [*ended.context["audios"], *ended.context["videos"], *ended.context["captions"]]
    assert len(parts) == 9
    assert ended.shown["artifacts"]["count"] == 12


def test_every_function_is_called_for_every_scene(api: Api, studio: Studio) -> None:
    ended = api.run(studio.workflow("workflow.yaml"), {"topic": "tea", "scenes": 2})
    members = [
        f"filming_{scene}-{name}"
        for scene in range(2)
        for name in ("lipsync", "subtitles", "voice")
    ]
    whole = ["concat", "filming", "gather", "polish", "split"]
    assert _called(ended, api) == sorted(whole + members)


def test_leaving_polish_out_leaves_the_text_as_it_was_found(api: Api, studio: Studio) -> None:
    data = {"topic": "tea", "scenes": 2}
    polished = api.run(studio.workflow("workflow.yaml"), data)
    rough = api.run(studio.workflow("workflow-no-polish.yaml"), data)
    assert rough.status == "SUCCEED"
    assert "polish" not in rough.task_statuses()
    assert rough.context["script"] != polished.context["script"]
    assert _pictures(studio.fetch(rough.context["result"]["film"]))


def test_one_step_more_puts_music_under_the_film(api: Api, studio: Studio) -> None:
    plain = api.run(studio.workflow("workflow.yaml"), {"topic": "tea", "scenes": 2})
    ended = api.run(studio.workflow("workflow-music.yaml"), {"topic": "tea", "scenes": 2})
    before, after = plain.context["result"], ended.context["result"]
    assert after["soundtrack"]["name"] == "film-music.wav"
    assert after["soundtrack"]["bytes"] == before["soundtrack"]["bytes"]
    assert studio.fetch(after["soundtrack"]) != studio.fetch(before["soundtrack"])
    assert _pictures(studio.fetch(after["film"])) == before["frames"]


def test_a_definition_needs_no_number_of_scenes(api: Api, studio: Studio) -> None:
    ended = api.run(studio.workflow("workflow.yaml"), {"topic": "bread"})
    assert ended.context["result"]["scenes"] == 3
