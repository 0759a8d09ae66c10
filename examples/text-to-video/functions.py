"""The functions of the text-to-video workflow: small, and real down to the files they write.

Each takes ``$TEXT_TO_VIDEO_DELAY_S`` seconds, 0 by default. Files go to
``$TEXT_TO_VIDEO_DIR`` (default ``.rillflow/video``), into one folder per execution; the
functions tell each other their names. The formats are open ones that players know: WAV
(speech, here one tone per word), SubRip (subtitles), and YUV4MPEG2 (pictures, here a face
whose mouth follows the loudness of the voice).

Serve them with ``rillflow functions serve examples/text-to-video/functions.py``.
"""

import io
import os
import re
import tempfile
import time
import wave
import zlib
from array import array
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

from rillflow.functions import Functions

Sound: TypeAlias = "array[int]"  # the class takes no parameter at run time before 3.12
Given = ParamSpec("Given")
Result = TypeVar("Result")

RATE_HZ: Final = 8_000
FRAMES_PER_S: Final = 10
WIDTH: Final = 48
HEIGHT: Final = 36
VIDEO_HEADER: Final = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FRAMES_PER_S}:1 Ip A1:1 C420jpeg\n".encode()
KINDS: Final = ("y4m", "wav", "srt")
WORD_S: Final = 0.15
PAUSE_S: Final = 0.03
WORDS_PER_CAPTION: Final = 4
LOUD: Final = 9_000
QUIET: Final = 900
SENTENCES: Final = (
    "{topic}  begins with a question that nobody had asked",
    "some look at  {topic} and see a road, some see a wall",
    "by noon {topic} has found its own   pace",
    "those who know {topic} well say little about it",
    "in the evening {topic}  looks like something from long ago",
    "what stays of {topic} is the story that is told",
)

app = Functions()


def takes_time(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Have a function take as long as ``$TEXT_TO_VIDEO_DELAY_S`` says."""

    @wraps(function)
    def slow(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        time.sleep(float(os.environ.get("TEXT_TO_VIDEO_DELAY_S", "0")))
        return function(*args, **kwargs)

    return slow


@app.function
@takes_time
def gather(topic: str, sentences: int = 3) -> dict[str, Any]:
    """Gather as many sentences about a topic as are wanted, as untidy as a search finds them."""
    found = (SENTENCES[place % len(SENTENCES)] for place in range(sentences))
    return {"text": ". ".join(line.format(topic=topic) for line in found)}


@app.function
@takes_time
def split(text: str, scenes: int) -> dict[str, Any]:
    """Split a text at its full stops into at most ``scenes`` scenes."""
    sentences = [part.strip() for part in text.split(".") if part.strip()]
    return {"script": [{"text": sentence} for sentence in sentences[:scenes]]}


@app.function
@takes_time
def polish(script: list[dict[str, str]]) -> dict[str, Any]:
    """Tidy each scene's text: single blanks, a capital first, a full stop last."""
    texts = (" ".join(scene["text"].split()) for scene in script)
    return {"script": [{"text": f"{text[:1].upper()}{text[1:].rstrip('.')}."} for text in texts]}


@app.function
@takes_time
def voice(execution_id: str, text: str, number: int) -> dict[str, Any]:
    """Speak a text: one tone for each word, its pitch given by the word's letters."""
    sound = array("h")
    for word in text.split():
        sound.extend(_tone(150 + zlib.crc32(word.encode()) % 250, WORD_S, LOUD))
        sound.extend(array("h", bytes(2 * round(PAUSE_S * RATE_HZ))))
    file = _folder(execution_id) / f"scene-{number}.wav"
    _write_sound(file, sound)
    return {"audio": file.name, "seconds": len(sound) / RATE_HZ}


@app.function
@takes_time
def lipsync(execution_id: str, audio: str, number: int) -> dict[str, Any]:
    """Draw a face whose mouth is open when the voice is loud, one picture per 1/10 s."""
    sound = _read_sound(_existing(execution_id, audio))
    step = RATE_HZ // FRAMES_PER_S
    frames = [_face(max(sound[at : at + step])) for at in range(0, len(sound), step)]
    file = _folder(execution_id) / f"scene-{number}.y4m"
    _save(file, VIDEO_HEADER + b"".join(frames))
    return {"video": file.name, "frames": len(frames)}


@app.function
@takes_time
def subtitles(execution_id: str, text: str, seconds: float, number: int) -> dict[str, Any]:
    """Write a scene's text as subtitles, a few words at a time over the scene's length."""
    words = text.split()
    each_s = seconds / max(len(words), 1)
    parts = [
        (
            at * each_s,
            min(at + WORDS_PER_CAPTION, len(words)) * each_s,
            words[at:][:WORDS_PER_CAPTION],
        )
        for at in range(0, len(words), WORDS_PER_CAPTION)
    ]
    file = _folder(execution_id) / f"scene-{number}.srt"
    _write_captions(file, ((start, end, " ".join(some)) for start, end, some in parts))
    return {"captions": file.name}


@app.function
@takes_time
def concat(
    execution_id: str, videos: list[str], audios: list[str], captions: list[str]
) -> dict[str, Any]:
    """Join the scenes, in order, into one film, one soundtrack and one file of subtitles."""
    frames = b"".join(
        _existing(execution_id, name).read_bytes().removeprefix(VIDEO_HEADER) for name in videos
    )
    sounds = [_read_sound(_existing(execution_id, name)) for name in audios]
    film, soundtrack, text = (_folder(execution_id) / f"film.{kind}" for kind in KINDS)
    _save(film, VIDEO_HEADER + frames)
    _write_sound(soundtrack, sum(sounds, array("h")))
    starts_s = [sum(map(len, sounds[:scene])) / RATE_HZ for scene in range(len(sounds))]
    parts = [_existing(execution_id, name) for name in captions]
    _write_captions(text, _shifted(parts, starts_s))
    return {
        "film": film.name,
        "soundtrack": soundtrack.name,
        "captions": text.name,
        "scenes": len(sounds),
        "seconds": sum(map(len, sounds)) / RATE_HZ,
        "frames": len(frames) // len(_face(0)),
        "bytes": film.stat().st_size,
    }


@app.function
@takes_time
def music(execution_id: str, soundtrack: str) -> dict[str, Any]:
    """Put a quiet tune under a soundtrack."""
    sound = _read_sound(_existing(execution_id, soundtrack))
    tune = array("h")
    while len(tune) < len(sound):
        for pitch_hz in (110, 165, 131, 147):
            tune.extend(_tone(pitch_hz, 0.5, QUIET))
    file = _folder(execution_id) / "film-music.wav"
    _write_sound(file, array("h", map(sum, zip(sound, tune, strict=False))))
    return {"soundtrack": file.name}


def _folder(execution_id: str) -> Path:
    root = Path(os.environ.get("TEXT_TO_VIDEO_DIR", ".rillflow/video"))
    folder = root / re.sub(r"[^A-Za-z0-9-]+", "-", execution_id)
    for each in (*reversed(folder.parents), folder):
        each.mkdir(mode=0o700, exist_ok=True)  # a data folder may come to stand beside it
    return folder


def _existing(execution_id: str, name: str) -> Path:
    return _folder(execution_id) / Path(name).name


def _save(file: Path, data: bytes) -> None:
    """Write a file at one stroke: a gateway may run a function twice, and at once."""
    with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as draft:
        draft.write(data)
    Path(draft.name).replace(file)


def _tone(pitch_hz: int, length_s: float, loudness: int) -> Sound:
    """Make a triangle wave; ``loudness`` is its peak, out of 32767."""
    period = RATE_HZ // pitch_hz
    rising = (4 * loudness * place // period for place in range(period))
    cycle = array("h", (loudness - abs(height - 2 * loudness) for height in rising))
    samples = round(length_s * RATE_HZ)
    return (cycle * (samples // period + 1))[:samples]


def _write_sound(file: Path, sound: Sound) -> None:
    data = io.BytesIO()
    with wave.open(data, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        out.writeframes(sound.tobytes())
    _save(file, data.getvalue())


def _read_sound(file: Path) -> Sound:
    with wave.open(str(file), "rb") as recorded:
        return array("h", recorded.readframes(recorded.getnframes()))


def _face(loudness: int) -> bytes:
    """Draw one YUV4MPEG2 picture; the louder, the wider is the mouth open."""
    opening = 1 + loudness * 10 // LOUD
    blank = bytes([210]) * WIDTH
    eyes = bytearray(blank)
    eyes[14:17] = eyes[31:34] = bytes([30]) * 3
    mouth = bytearray(blank)
    mouth[16:32] = bytes([60]) * 16
    rows = [blank] * HEIGHT
    rows[10:13] = [bytes(eyes)] * 3
    top = 26 - opening // 2
    rows[top : top + opening] = [bytes(mouth)] * opening
    colours = bytes([118]) * (WIDTH * HEIGHT // 4) + bytes([150]) * (WIDTH * HEIGHT // 4)
    return b"FRAME\n" + b"".join(rows) + colours


def _write_captions(file: Path, captions: Iterator[tuple[float, float, str]]) -> None:
    blocks = (
        f"{number}\n{_clock(start_s)} --> {_clock(end_s)}\n{text}\n"
        for number, (start_s, end_s, text) in enumerate(captions, start=1)
    )
    _save(file, "\n".join(blocks).encode())


def _shifted(parts: list[Path], starts_s: list[float]) -> Iterator[tuple[float, float, str]]:
    for part, start_s in zip(parts, starts_s, strict=True):
        for block in part.read_text(encoding="utf-8").split("\n\n"):
            _, times, text = block.strip().split("\n", 2)
            begin, end = (start_s + _seconds(time) for time in times.split(" --> "))
            yield begin, end, text


def _clock(time_s: float) -> str:
    milliseconds = round(time_s * 1000)
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02},{milliseconds:03}"


def _seconds(clock: str) -> float:
    hours, minutes, seconds = clock.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
