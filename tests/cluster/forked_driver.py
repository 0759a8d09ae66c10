"""Actors of a Ray whose workers are forked: what each draws, and what it is answered.

    python tests/cluster/forked_driver.py FOLDER

Starts Ray as ``rillflow up`` does, with a folder for sockets, and four actors that ask a fifth
one at the same time. Prints a line of JSON: the command of the process that each has been forked
from, the ids that it drew in its first thread and in another one, and what it was answered.
"""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from serve.listening import free_port
from serve.stack.ray_environment import PREFERENCES
from serve.stack.reaper import MARK

os.environ.update({MARK: sys.argv[1], **PREFERENCES})

import ray

from serve.stack.local_ray import LocalRay

ACTORS: Final = 4
QUESTIONS: Final = 20


class Asked:
    """Answers with what it is asked."""

    async def echo(self, question: str) -> str:
        """Answer."""
        return question


class Asker:
    """Draws ids, and asks."""

    def __init__(self, name: str, asked: Any) -> None:
        self._name = name
        self._asked = asked

    async def tell(self) -> Mapping[str, Any]:
        """Return the command of this process's parent, what it has drawn, and its answers."""
        kept = []

        def draw() -> list[str]:
            value = ray.put(self._name * 100_000)
            question = self._asked.echo.remote(self._name)
            kept.extend([value, question])
            assert ray.get(value)[0] == ray.get(question)
            return [ray.UniqueID.from_random().hex(), value.hex(), question.hex()]

        ids = [ray.UniqueID.from_random().hex(), ray.get_runtime_context().get_task_id()]
        ids += await asyncio.to_thread(draw)
        answers = [
            await self._asked.echo.remote(f"{self._name}{number}") for number in range(QUESTIONS)
        ]
        return {"parent": command_of_parent(), "ids": ids, "answers": answers}


def command_of_parent() -> str:
    """Return the command of the process from which this one has been forked."""
    return Path(f"/proc/{os.getppid()}/cmdline").read_text(encoding="utf-8")


def main(folder: str) -> None:
    """Start Ray, ask all at once, and print what they tell."""
    logs = Path(folder, "session_forked")
    logs.mkdir()
    local = LocalRay(Path(folder), logs, agent_port=free_port(), dashboard=False)
    local.start("forked")
    try:
        asked = ray.remote(num_cpus=0)(Asked).remote()
        kind = ray.remote(num_cpus=0)(Asker)
        askers = [kind.remote("abcd"[number], asked) for number in range(ACTORS)]
        told = ray.get([asker.tell.remote() for asker in askers], timeout=60)
    finally:
        local.stop()
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
