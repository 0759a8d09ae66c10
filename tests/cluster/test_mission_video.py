"""Text to video, with the example's own functions as a process: real files come out, and
another graph of the same functions needs only another YAML."""

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.api import Api, Ended
from tests.cluster.processes import function_server

pytestmark = pytest.mark.cluster

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "text-to-video"
PICTURE_BYTES: Final = 6 + 48 * 36 * 3 // 2


class Studio:
    """The example's functions, and the folder that they write to."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self._folder = folder

    def workflow(self, name: str) -> str:
        """One of the example's definitions, with the address of these functions."""
        text = (EXAMPLE / name).read_text(encoding="utf-8")
        return text.replace("http://127.0.0.1:8081", self.url)

    def folder_of(self, ended: Ended) -> Path:
        """Where the files of an execution are."""
        name = ended.execution_id.replace(":", "-").replace("_", "-")
        return self._folder / name


@pytest.fixture(name="studio", scope="module")
def _studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("video")
    with function_server(EXAMPLE / "functions.py", TEXT_TO_VIDEO_DIR=str(folder)) as url:
        yield Studio(url, folder)


def _called(ended: Ended, api: Api) -> list[str]:
    """The instances that ran, groups included."""
    names = [name for name, status in ended.task_statuses().items() if status == "SUCCEEDED"]
    for index, status in ended.task("filming")["sub_group_index_to_status"].items():
        assert status == "SUCCEED"
        names += api.group(ended.execution_id, "filming", int(index))
    return sorted(names)


def test_a_text_becomes_a_film_with_sound_and_subtitles(api: Api, studio: Studio) -> None:
    ended = api.run(studio.workflow("workflow.yaml"), {"topic": "the sea", "scenes": 3})
    assert ended.status == "SUCCEED"
    result, folder = ended.context["result"], studio.folder_of(ended)
    with wave.open(str(folder / result["soundtrack"])) as sound:
        seconds = sound.getnframes() / sound.getframerate()
    assert seconds == result["seconds"] > 3
    film = (folder / result["film"]).read_bytes()
    assert film.startswith(b"YUV4MPEG2 W48 H36 F10:1")
    assert len(film) == result["bytes"] == film.index(b"\n") + 1 + result["frames"] * PICTURE_BYTES
    assert abs(result["frames"] / 10 - seconds) <= 0.3
    captions = (folder / result["captions"]).read_text(encoding="utf-8")
    spoken = " ".join(
        line for line in captions.splitlines() if line and not line[0].isdigit()
    ).lower()
    for scene in ended.context["script"]:
        assert scene["text"].lower() in spoken
    parts = [
        folder / f"scene-{number}.{kind}" for number in range(3) for kind in ("wav", "y4m", "srt")
    ]
    assert all(part.stat().st_size for part in parts)


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
    assert (studio.folder_of(rough) / rough.context["result"]["film"]).exists()


def test_one_step_more_puts_music_under_the_film(api: Api, studio: Studio) -> None:
    ended = api.run(studio.workflow("workflow-music.yaml"), {"topic": "tea", "scenes": 2})
    folder, result = studio.folder_of(ended), ended.context["result"]
    assert result["soundtrack"] == "film-music.wav"
    plain, music = (folder / name for name in ("film.wav", "film-music.wav"))
    assert plain.stat().st_size == music.stat().st_size
    assert plain.read_bytes() != music.read_bytes()


def test_a_definition_needs_no_number_of_scenes(api: Api, studio: Studio) -> None:
    ended = api.run(studio.workflow("workflow.yaml"), {"topic": "bread"})
    assert ended.context["result"]["scenes"] == 3
