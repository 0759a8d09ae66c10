"""The loop of a driver: a process of its own on a Ray cluster, which a test tells what to do.

The test writes a line for each command, ``name argument ...``, and reads an answer in JSON.
"""

import asyncio
import json
import sys
from typing import Any, Final

ANSWER: Final = "answer: "
"""Before each answer, since Ray writes to the same stream."""


def _say(answer: Any) -> None:
    """Write an answer."""
    sys.stdout.write(f"{ANSWER}{json.dumps(answer)}\n")
    sys.stdout.flush()


async def obey(driver: object) -> None:
    """Say that the driver has joined, then call its methods by name until the input ends."""
    _say("joined")
    while line := await asyncio.to_thread(sys.stdin.readline):
        command, *arguments = line.split()
        _say(await getattr(driver, command)(*arguments))
