"""The text-to-video functions make real files whose lengths fit, and a film that plays."""

import importlib.util
import io
import wave
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import av
import httpx
import pytest

from rillflow import Artifact

FUNCTIONS_FILE: Final = Path(__file__).parents[2] / "examples" / "text-to-video" / "functions.py"


@pytest.fixture(name="video", scope="module")
def _video() -> ModuleType:
    spec = importlib.util.spec_from_file_location("text_to_video", FUNCTIONS_FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _film(video: ModuleType, scenes: int, *, polished: bool) -> dict[str, Any]:
    """Call the functions in the workflow's order, without any workflow."""
    text = video.gather("the sea", scenes)["text"]
    script = video.split(text, scenes)["script"]
    if polished:
        script = video.polish(script)["script"]
    parts: dict[str, list[Artifact]] = {"videos": [], "audios": [], "captions": []}
    for number, scene in enumerate(script):
        spoken = video.voice(scene["text"], number)
        drawn = video.lipsync(spoken["audio"], number)
        captions = video.subtitles(scene["text"], spoken["seconds"], number)
        parts["audios"].append(spoken["audio"])
        parts["videos"].append(drawn["video"])
        parts["captions"].append(captions["captions"])
    film: dict[str, Any] = video.concat(**parts)
    return film


def _seconds(sound: Artifact) -> float:
    with sound.open() as content, wave.open(content) as recorded:
        return float(recorded.getnframes() / recorded.getframerate())


def test_the_film_is_as_long_as_its_soundtrack(video: ModuleType) -> None:
    film = _film(video, 3, polished=True)
    assert film["seconds"] == _seconds(film["soundtrack"])
    limit_s = film["scenes"] / video.FRAMES_PER_S
    assert abs(film["frames"] / video.FRAMES_PER_S - film["seconds"]) <= limit_s


def test_the_film_is_one_that_browsers_play_with_pictures_and_sound(video: ModuleType) -> None:
    film = _film(video, 2, polished=True)
    assert film["film"].media_type == "video/webm"
    with av.open(io.BytesIO(film["film"].read()), "r") as played:
        names = {stream.codec_context.name for stream in played.streams}
        pictures = [frame.to_ndarray(format="gray") for frame in played.decode(video=0)]
        assert played.duration is not None
        assert abs(played.duration / av.time_base - film["seconds"]) < 0.3
    assert names <= {"vp9", "opus", "libopus"}
    assert len(names) == 2
    assert len(pictures) == film["frames"]
    assert pictures[0].shape == (video.HEIGHT, video.WIDTH)
    assert film["bytes"] == film["film"].size_bytes
    assert len({picture.tobytes() for picture in pictures}) > 1  # the mouth moves


def test_the_subtitles_run_through_to_the_end(video: ModuleType) -> None:
    film = _film(video, 3, polished=True)
    blocks = film["captions"].read().decode().strip().split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == [str(n + 1) for n in range(len(blocks))]
    times = [time for block in blocks for time in block.split("\n")[1].split(" --> ")]
    assert times == sorted(times)
    assert times[-1] == f"00:00:{film['seconds']:06.3f}".replace(".", ",")
    spoken = " ".join(block.split("\n")[2] for block in blocks)
    assert spoken.startswith("The sea begins with a question that nobody had asked. Some look")


def test_leaving_polish_out_leaves_the_text_as_it_was_found(video: ModuleType) -> None:
    text = video.gather("the sea", 1)["text"]
    assert video.split(text, 1)["script"] == [{"text": text}]
    assert _film(video, 1, polished=False)["scenes"] == 1


def test_music_keeps_the_length_and_the_pictures(video: ModuleType) -> None:
    film = _film(video, 1, polished=True)
    scored = video.music(film["film"], film["soundtrack"])
    assert _seconds(scored["soundtrack"]) == film["seconds"]
    assert scored["soundtrack"].read() != film["soundtrack"].read()
    with av.open(io.BytesIO(scored["film"].read()), "r") as played:
        assert len(list(played.decode(video=0))) == film["frames"]


async def test_the_functions_are_served_over_http(video: ModuleType) -> None:
    video.app.prepare()
    transport = httpx.ASGITransport(app=video.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        answer = await http.post("/function/gather", json={"topic": "tea", "sentences": "1"})
        assert answer.json() == {"text": "tea  begins with a question that nobody had asked"}
