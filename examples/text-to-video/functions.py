"""The functions of the text-to-video workflow: small, and real down to the files they make.

Each takes ``$TEXT_TO_VIDEO_DELAY_S`` seconds, 0 by default. Files go from one to the next as
artifacts: WAV (speech, here one tone per word), YUV4MPEG2 (pictures, here a face whose mouth
follows the loudness of the voice) and SubRip (subtitles). The film at the end is a WebM file (VP9
and Opus), which every browser plays; PyAV encodes it.

Serve them with ``rillflow functions serve examples/text-to-video/functions.py``.
"""

import io
import os
import time
import wave
import zlib
from array import array
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

import av
import numpy as np

from rillflow import Artifact
from rillflow.functions import Functions

Sound: TypeAlias = "array[int]"  # the class takes no parameter at run time before 3.12
Given = ParamSpec("Given")
Result = TypeVar("Result")

RATE_HZ: Final = 8_000
FRAMES_PER_S: Final = 10
WIDTH: Final = 48
HEIGHT: Final = 36
VIDEO_HEADER: Final = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FRAMES_PER_S}:1 Ip A1:1 C420jpeg\n".encode()
FRAME: Final = b"FRAME\n"
PICTURE_BYTES: Final = len(FRAME) + WIDTH * HEIGHT * 3 // 2
OPUS_HZ: Final = 48_000
VIDEO_OPTIONS: Final = {"deadline": "realtime", "cpu-used": "8"}
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
def voice(text: str, number: int) -> dict[str, Any]:
    """Speak a text: one tone for each word, its pitch given by the word's letters."""
    sound = array("h")
    for word in text.split():
        sound.extend(_tone(150 + zlib.crc32(word.encode()) % 250, WORD_S, LOUD))
        sound.extend(array("h", bytes(2 * round(PAUSE_S * RATE_HZ))))
    return {"audio": _wav(sound, f"scene-{number}.wav"), "seconds": len(sound) / RATE_HZ}


@app.function
@takes_time
def lipsync(audio: Artifact, number: int) -> dict[str, Any]:
    """Draw a face whose mouth is open when the voice is loud, one picture per 1/10 s."""
    sound = _sound(audio)
    step = RATE_HZ // FRAMES_PER_S
    frames = [_face(max(sound[at : at + step])) for at in range(0, len(sound), step)]
    data = VIDEO_HEADER + b"".join(frames)
    return {"video": Artifact(data, "video/x-y4m", f"scene-{number}.y4m"), "frames": len(frames)}


@app.function
@takes_time
def subtitles(text: str, seconds: float, number: int) -> dict[str, Any]:
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
    lines = ((start, end, " ".join(some)) for start, end, some in parts)
    return {"captions": _captions(lines, f"scene-{number}.srt")}


@app.function
@takes_time
def concat(
    videos: list[Artifact], audios: list[Artifact], captions: list[Artifact]
) -> dict[str, Any]:
    """Join the scenes, in order, into one film with sound, and one file of subtitles."""
    frames = b"".join(video.read().removeprefix(VIDEO_HEADER) for video in videos)
    sounds = [_sound(audio) for audio in audios]
    soundtrack = sum(sounds, array("h"))
    starts_s = [sum(map(len, sounds[:scene])) / RATE_HZ for scene in range(len(sounds))]
    pictures = [
        frames[at + len(FRAME) : at + PICTURE_BYTES] for at in range(0, len(frames), PICTURE_BYTES)
    ]
    film = _webm(pictures, soundtrack)
    return {
        "film": Artifact(film, "video/webm", "film.webm"),
        "soundtrack": _wav(soundtrack, "film.wav"),
        "captions": _captions(_shifted(captions, starts_s), "film.srt"),
        "scenes": len(sounds),
        "seconds": len(soundtrack) / RATE_HZ,
        "frames": len(pictures),
        "bytes": len(film),
    }


@app.function
@takes_time
def music(film: Artifact, soundtrack: Artifact) -> dict[str, Any]:
    """Put a quiet tune under the soundtrack of a film."""
    sound = _sound(soundtrack)
    tune = array("h")
    while len(tune) < len(sound):
        for pitch_hz in (110, 165, 131, 147):
            tune.extend(_tone(pitch_hz, 0.5, QUIET))
    both = array("h", map(sum, zip(sound, tune, strict=False)))
    with film.open() as content, av.open(content, "r") as old:
        pictures = [
            bytes(frame.to_ndarray(format="yuv420p").tobytes()) for frame in old.decode(video=0)
        ]
    return {
        "film": Artifact(_webm(pictures, both), "video/webm", "film-music.webm"),
        "soundtrack": _wav(both, "film-music.wav"),
    }


def _webm(pictures: list[bytes], sound: Sound) -> bytes:
    """Encode pictures and sound as WebM."""
    data = io.BytesIO()
    with av.open(data, "w", format="webm") as out:
        video = out.add_stream("libvpx-vp9", rate=FRAMES_PER_S, options=VIDEO_OPTIONS)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = out.add_stream("libopus", rate=OPUS_HZ, layout="mono")
        for number, picture in enumerate(pictures):
            rows = np.frombuffer(picture, np.uint8).reshape(HEIGHT * 3 // 2, WIDTH)
            frame = av.VideoFrame.from_ndarray(rows, format="yuv420p")
            frame.pts = number
            out.mux(video.encode(frame))
        out.mux(video.encode())
        samples = np.array(sound, np.int16).reshape(1, -1)
        heard = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        heard.sample_rate, heard.pts = RATE_HZ, 0
        resampler = av.AudioResampler(format="s16", layout="mono", rate=OPUS_HZ)
        for part in (*resampler.resample(heard), *resampler.resample(None)):
            out.mux(audio.encode(part))
        out.mux(audio.encode())
    return data.getvalue()


def _tone(pitch_hz: int, length_s: float, loudness: int) -> Sound:
    """Make a triangle wave; ``loudness`` is its peak, out of 32767."""
    period = RATE_HZ // pitch_hz
    rising = (4 * loudness * place // period for place in range(period))
    cycle = array("h", (loudness - abs(height - 2 * loudness) for height in rising))
    samples = round(length_s * RATE_HZ)
    return (cycle * (samples // period + 1))[:samples]


def _wav(sound: Sound, name: str) -> Artifact:
    data = io.BytesIO()
    with wave.open(data, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        out.writeframes(sound.tobytes())
    return Artifact(data.getvalue(), "audio/wav", name)


def _sound(file: Artifact) -> Sound:
    with file.open() as content, wave.open(content, "rb") as recorded:
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
    return FRAME + b"".join(rows) + colours


def _captions(captions: Iterator[tuple[float, float, str]], name: str) -> Artifact:
    blocks = (
        f"{number}\n{_clock(start_s)} --> {_clock(end_s)}\n{text}\n"
        for number, (start_s, end_s, text) in enumerate(captions, start=1)
    )
    return Artifact("\n".join(blocks).encode(), "application/x-subrip", name)


def _shifted(parts: list[Artifact], starts_s: list[float]) -> Iterator[tuple[float, float, str]]:
    for part, start_s in zip(parts, starts_s, strict=True):
        for block in part.read().decode().split("\n\n"):
            _, times, text = block.strip().split("\n", 2)
            begin, end = (start_s + _seconds(clock) for clock in times.split(" --> "))
            yield begin, end, text


def _clock(time_s: float) -> str:
    milliseconds = round(time_s * 1000)
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02},{milliseconds:03}"


def _seconds(clock: str) -> float:
    hours, minutes, seconds = clock.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
