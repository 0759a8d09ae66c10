"""A named actor and a Serve application on the Ray of a stack, for tests that call them.

    python tests/cluster/ray_services.py ADDRESS JUDGE

``JUDGE`` is a file with another application, ``app``. It prints a line once they are there, and
leaves them.
"""

import asyncio
import importlib
import os
import runpy
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final

import numpy as np
import ray
from pydantic import BaseModel
from ray import serve

from rillflow import Artifact

PATIENCE_S: Final = 120.0


class Score(BaseModel):
    """How good something is."""

    of: str
    score: float


class Slow:
    """What becomes a list when it may, which a file tells."""

    def __init__(self, file: str) -> None:
        self._file = file

    def tolist(self) -> list[int]:
        """Wait in the process that encodes it."""
        _note(self._file, "encodes")
        _wait_for(f"{self._file}.go")
        return [1]


class Counter:
    """An actor that counts."""

    def __init__(self) -> None:
        self._count = 0

    async def add(self, number: int) -> dict[str, int]:
        """Return the sum so far."""
        self._count += number
        return {"count": self._count}

    async def large(self, count: int) -> str:
        """Return so many characters."""
        return "x" * count

    async def fail(self) -> None:
        """Raise."""
        raise LookupError("nothing is there")

    async def wait(self, file: str) -> None:
        """Wait until cancelled, and note both."""
        _note(file, "waits")
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            _note(file, "cancelled")
            raise

    async def foreign(self, folder: str, file: str, *, is_raised: bool) -> object:
        """Return, or raise, an object of a module that only this process has."""
        _add(file, "called\n")
        if folder not in sys.path:
            sys.path.append(folder)
        module = importlib.import_module("only_of_the_actor")
        if is_raised:
            raise module.FarError("far")
        result: object = module.Far()
        return result

    async def slow(self, file: str) -> Slow:
        """Return what is slow to encode."""
        return Slow(file)

    async def draw(self, folder: str) -> dict[str, object]:
        """Return what becomes artifacts."""
        file = Path(folder) / "film.txt"
        file.write_text("a film", encoding="ascii")
        frame = np.full((2, 3), 51, np.uint8)
        return {
            "frame": frame,
            "clips": [Artifact(file), Artifact(b"a clip", "video/webm", "a.webm")],
        }

    async def measure(self, clips: list[Artifact]) -> list[str]:
        """Read artifacts."""
        return [f"{clip.name}: {clip.read().decode()}" for clip in clips]

    async def die(self) -> None:
        """End the process."""
        os._exit(1)


class Scorer:
    """The ingress of an application."""

    async def __call__(self, text: str) -> Score:
        """Score a text."""
        return Score(of=text, score=float(len(text)))

    async def remote(self, text: str) -> str:
        """Have the name of a method of Serve's own handle."""
        return text.upper()

    async def tell(self, words: list[str], file: str = "") -> AsyncGenerator[str, None]:
        """Stream words, and then wait for a file, if there is one."""
        for word in words:
            yield f"{word} "
        if file:
            await asyncio.to_thread(_wait_for, file)

    async def scores(self, count: int) -> AsyncGenerator[dict[str, int], None]:
        """Stream objects; more than there may be, fail."""
        for number in range(count):
            yield {"score": number}
        if count == 0:
            raise LookupError("nothing to score")

    async def model(self, text: str) -> str:
        """Return the chosen model."""
        return f"{serve.get_multiplexed_model_id()} {text}"

    def film(self, file: str, size_bytes: int) -> Path:
        """Return a file of this machine, larger than an answer may be."""
        Path(file).write_bytes(bytes(size_bytes))
        return Path(file)

    async def frames(self, count: int) -> AsyncGenerator[bytes, None]:
        """Stream bytes."""
        for number in range(count):
            yield b"%d" % number

    async def best(self, texts: list[str]) -> str:
        """Return the longest text."""
        return max(texts, key=len)


def _add(file: str, text: str) -> None:
    with Path(file).open("a", encoding="ascii") as lines:
        lines.write(text)


def _wait_for(file: str) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not Path(file).exists() and time.monotonic() < give_up:
        time.sleep(0.05)


def _note(file: str, text: str) -> None:
    Path(file).write_text(text, encoding="ascii")


def main(address: str, judge: str) -> None:
    """Start all."""
    ray.init(address=address, namespace="models", log_to_driver=False)
    kind: Any = ray.remote(Counter).options(name="counter", lifetime="detached", num_cpus=0)
    ray.get(kind.remote().add.remote(0))
    deployment: Any = serve.deployment(Scorer, ray_actor_options={"num_cpus": 0})
    serve.run(deployment.bind(), name="scores", route_prefix=None)
    serve.run(runpy.run_path(judge, run_name="__main__")["app"], name="judge", route_prefix=None)
    sys.stdout.write("ready\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
