"""Functions that tests of ``ray://`` call; they note their calls in the file that is given."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from subprocess import check_output  # noqa: F401 - what is imported may not be called
from typing import Any

import ray
from pydantic import BaseModel

from rillflow import Artifact


class Size(BaseModel):
    """A size in pixels."""

    width: int
    height: int = 2


class BusyError(Exception):
    """The function cannot be called now."""


def many(items: list[dict[str, Any]]) -> list[dict[str, Any] | Exception]:
    """Return a result for each input, and note how many there were."""
    if items[0].get("file"):
        with Path(items[0]["file"]).open("a", encoding="ascii") as file:
            file.write(f"{len(items)}\n")
    return [
        BusyError(f"no {item['number']}") if item.get("fails") == item["number"] else item
        for item in items
    ]


def slowly(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Note that a batch has begun, and take a long time."""
    with Path(items[0]["file"]).open("a", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(600)
    return items


def area(size: Size, times: int = 1) -> int:
    """Return pixels."""
    return size.width * size.height * times


def drawn(text: str) -> bytes:
    """Return an artifact."""
    return text.encode()


def measured(data: Artifact) -> dict[str, Any]:
    """Return what is known of an artifact, and what is in it."""
    return {"text": data.read().decode(), "bytes": data.size_bytes, "again": data}


def doubled(size: Size) -> Size:
    """Return a model."""
    return Size(width=2 * size.width, height=2 * size.height)


async def later(text: str) -> list[str]:
    """Return a list, a moment later."""
    await asyncio.sleep(0)
    return [text]


def steps(count: int) -> Generator[int, None, dict[str, int]]:
    """Yield progress and return an output."""
    yield from range(count)
    return {"steps": count}


@ray.remote  # type: ignore[untyped-decorator] # Ray has no types
def remote() -> str:
    """Be a Ray function already."""
    return "called"


def ray_task(number: int) -> dict[str, Any]:
    """Tell by which Ray task a call is made."""
    return {"number": [number, ray.get_runtime_context().get_task_id()]}


def sleeps_briefly(number: int) -> dict[str, int]:
    """Take longer than a quick function."""
    time.sleep(0.05)
    return {"number": number}


def nothing() -> None:
    """Return nothing."""


def surroundings() -> dict[str, Any]:
    """Tell where the function runs."""
    parent = Path(f"/proc/{os.getppid()}/cmdline").read_bytes()
    return {
        "folder": str(Path.cwd()),
        "variable": os.environ.get("OF_THE_USER"),
        "parent": parent.decode().split("\0")[0].rpartition("/")[2],
        "is_serve_loaded": "ray.serve" in sys.modules,
        "cpus": ray.get_runtime_context().get_assigned_resources().get("CPU"),
    }


def environment() -> dict[str, str]:
    """Return all variables that are there."""
    return dict(os.environ)


def busy(file: str, ready_at: int) -> int:
    """Raise until it was called so often."""
    calls = _note(file)
    if calls < ready_at:
        raise BusyError(f"call {calls} comes too early")
    return calls


def wrong(file: str) -> None:
    """Raise what no retry is for."""
    raise ValueError(f"call {_note(file)} is wrong")


def tell(secret: str) -> None:
    """Show its input in an exception."""
    raise RuntimeError(f"the secret is {secret}")


class EndsError(BaseException):
    """Note the process that decodes it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _note, (str(self),)


def ends(file: str) -> None:
    """Raise what is no Exception."""
    _note(file)
    raise EndsError(file)


def prints(text: str, file: str = "", secret: str = "") -> None:
    """Print and log, and wait for a file."""
    print(text, secret)  # noqa: T201 - that is what it is for
    logging.getLogger("of_the_user").warning("logged %s", text)
    while file and not Path(file).exists():
        time.sleep(0.05)


def says(text: str, seconds: float) -> int:
    """Print the process and a text, and return the process after a while."""
    print(os.getpid(), text)  # noqa: T201 - that is what it is for
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        time.sleep(0.05)
    return os.getpid()


def large(count: int) -> str:
    """Return so many characters."""
    return "x" * count


def dies(file: str, times: int) -> int:
    """End its process the first times."""
    calls = _note(file)
    if calls <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return calls


def sleeps(file: str, seconds: float) -> str:
    """Sleep, which Ray cannot interrupt."""
    _note(file)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)
    return "slept"


def holds(file: str, number: int = 0) -> None:
    """Hold a processor until there is a second file."""
    del number  # which only tells items apart
    _note(file)
    while not Path(f"{file}.go").exists():
        time.sleep(0.05)


def stubborn(file: str) -> None:
    """Take no notice of what is to end it."""
    _note(file)
    while True:
        try:
            time.sleep(60)
        except BaseException:  # noqa: BLE001, S112 - that is what it is for
            continue


def with_child(file: str) -> None:
    """Wait for a process."""
    _note(file)
    subprocess.run(["/bin/sleep", "60"], check=True)


def leaves(file: str) -> int:
    """Leave a thread that prints once there is a second file, and makes a third one then."""

    def wait() -> None:
        while not Path(f"{file}.go").exists():
            time.sleep(0.05)
        print("left behind", flush=True)  # noqa: T201 - that is what it is for
        Path(f"{file}.said").touch()

    threading.Thread(target=wait, daemon=True).start()
    return os.getpid()


def hears(file: str) -> int:
    """Have that thread print, and print after it."""
    Path(f"{file}.go").touch()
    while not Path(f"{file}.said").exists():
        time.sleep(0.05)
    print("own")  # noqa: T201 - that is what it is for
    return os.getpid()


def _note(file: str) -> int:
    """Write a line with the process into a file, and count the lines."""
    with Path(file).open("a", encoding="ascii") as lines:
        lines.write(f"{os.getpid()}\n")
    return len(Path(file).read_text(encoding="ascii").splitlines())
