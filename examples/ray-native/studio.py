"""The functions that Ray calls: they draw frames with NumPy, and join the best ones into a film.

Frames are artifacts: the workflow has references to them, and ``join`` gets them opened, as the
scorer does.
"""

import io
import os
import time
import zlib
from typing import Any, Final

import av
import numpy as np

import rillflow
from rillflow import Artifact

WIDTH: Final = 320
HEIGHT: Final = 240
FRAMES_PER_S: Final = 5
DELAY_S: Final = float(os.environ.get("STUDIO_DELAY_S", "0"))
"""How long a frame takes at least; `make demo-ray` sets it, so that one sees the progress."""


def draw(title: str, frames: int = 12) -> "list[np.ndarray[Any, np.dtype[np.uint8]]]":
    """Draw waves, as many frames as are wanted."""
    random = np.random.default_rng(zlib.crc32(title.encode()))
    drawn = []
    for number in range(frames):
        rillflow.progress(number / frames, f"frame {number + 1} of {frames}")
        time.sleep(DELAY_S)
        drawn.append(_waves(random, number))
    return drawn


def join(
    frames: list[Artifact], scores: list[float], best: int = 6
) -> dict[str, Artifact | list[int]]:
    """Join the best frames, in their order, into a film that every browser plays."""
    order = sorted(range(len(frames)), key=lambda number: scores[number], reverse=True)
    chosen = sorted(order[:best])
    data = io.BytesIO()
    with av.open(data, "w", format="webm") as out:
        video = out.add_stream("libvpx-vp9", rate=FRAMES_PER_S)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for place, number in enumerate(chosen):
            with frames[number].open() as content:
                picture = av.VideoFrame.from_ndarray(np.load(content), format="gray")
            picture.pts = place
            out.mux(video.encode(picture.reformat(format="yuv420p")))
        out.mux(video.encode())
    return {"film": Artifact(data.getvalue(), "video/webm", "film.webm"), "frames": chosen}


def _waves(random: np.random.Generator, number: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    x, y = np.meshgrid(np.linspace(0, 6, WIDTH), np.linspace(0, 6, HEIGHT))
    waves = np.sin(x * random.uniform(0.5, 2) + number / 2) + np.cos(y * random.uniform(0.5, 2))
    loud = random.uniform(20, 60)
    return np.clip(128 + loud * waves, 0, 255).astype(np.uint8)
