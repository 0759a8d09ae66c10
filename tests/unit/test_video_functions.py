"""The text-to-video functions write real files, whose lengths fit each other."""

import importlib.util
import wave
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import httpx
import pytest

FUNCTIONS_FILE: Final = Path(__file__).parents[2] / "examples" / "text-to-video" / "functions.py"
EXECUTION: Final = "video:textToVideo_c_0"


@pytest.fixture(name="video")
def _video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("TEXT_TO_VIDEO_DIR", str(tmp_path))
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
    parts: dict[str, list[str]] = {"videos": [], "audios": [], "captions": []}
    for number, scene in enumerate(script):
        spoken = video.voice(EXECUTION, scene["text"], number)
        drawn = video.lipsync(EXECUTION, spoken["audio"], number)
        captions = video.subtitles(EXECUTION, scene["text"], spoken["seconds"], number)
        parts["audios"].append(spoken["audio"])
        parts["videos"].append(drawn["video"])
        parts["captions"].append(captions["captions"])
    film: dict[str, Any] = video.concat(EXECUTION, **parts)
    return film


def test_the_film_is_as_long_as_its_soundtrack(video: ModuleType, tmp_path: Path) -> None:
    film = _film(video, 3, polished=True)
    folder = tmp_path / "video-textToVideo-c-0"
    with wave.open(str(folder / film["soundtrack"])) as sound:
        seconds = sound.getnframes() / sound.getframerate()
    assert film["seconds"] == seconds
    assert abs(film["frames"] / video.FRAMES_PER_S - seconds) <= film["scenes"] / video.FRAMES_PER_S


def test_the_film_has_one_header_and_whole_pictures(video: ModuleType, tmp_path: Path) -> None:
    film = _film(video, 2, polished=True)
    data = (tmp_path / "video-textToVideo-c-0" / film["film"]).read_bytes()
    header, frames = data.split(b"\n", 1)
    picture = len(b"FRAME\n") + video.WIDTH * video.HEIGHT * 3 // 2
    assert header.startswith(b"YUV4MPEG2 W48 H36")
    assert len(frames) == film["frames"] * picture
    assert film["bytes"] == len(data)
    assert all(frames[at:].startswith(b"FRAME\n") for at in range(0, len(frames), picture))


def test_the_mouth_moves_with_the_voice(video: ModuleType, tmp_path: Path) -> None:
    film = _film(video, 1, polished=True)
    data = (tmp_path / "video-textToVideo-c-0" / film["film"]).read_bytes()
    assert len(set(data.split(b"FRAME\n")[1:])) > 1


def test_the_subtitles_run_through_to_the_end(video: ModuleType, tmp_path: Path) -> None:
    film = _film(video, 3, polished=True)
    text = (tmp_path / "video-textToVideo-c-0" / film["captions"]).read_text(encoding="utf-8")
    blocks = text.strip().split("\n\n")
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


def test_music_keeps_the_length_of_the_soundtrack(video: ModuleType, tmp_path: Path) -> None:
    film = _film(video, 1, polished=True)
    scored = video.music(EXECUTION, film["soundtrack"])
    folder = tmp_path / "video-textToVideo-c-0"
    before, after = (folder / name for name in (film["soundtrack"], scored["soundtrack"]))
    assert before.stat().st_size == after.stat().st_size
    assert before.read_bytes() != after.read_bytes()


def test_every_execution_has_a_folder_of_its_own(video: ModuleType, tmp_path: Path) -> None:
    video.voice(EXECUTION, "one", 0)
    video.voice("../../elsewhere", "two", 0)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == [
        "-elsewhere",
        "video-textToVideo-c-0",
    ]


def test_no_function_reads_outside_its_execution(video: ModuleType) -> None:
    with pytest.raises(FileNotFoundError):
        video.lipsync(EXECUTION, str(FUNCTIONS_FILE), 0)


async def test_the_functions_are_served_over_http(video: ModuleType) -> None:
    body = {"execution_id": EXECUTION, "text": "Some words.", "number": 0}
    video.app.prepare()
    transport = httpx.ASGITransport(app=video.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        answer = await http.post("/function/voice", json=body)
        assert answer.json() == {"audio": "scene-0.wav", "seconds": 0.36}
