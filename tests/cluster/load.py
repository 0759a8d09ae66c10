"""Executions submitted by many callers at once, and what each of them was told."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

import httpx

from tests.cluster.api import Api

CALLERS: Final = 8
STEPS: Final = 5
APART: Final = 1000
"""Each execution counts up from a multiple of this, so that contexts cannot be mistaken."""
PATIENCE_S: Final = 60.0
LOOK_S: Final = 0.005
ROUTES: Final = ("answer", "late", "answer", "early", "answer")


def steps(functions_url: str) -> str:
    """Return a definition of five functions in a row that each add one, some by callback."""
    tasks = "".join(
        f"""
  - name: step{number}
    category: function
    pattern: {"task_sync" if route == "answer" else "task_async"}
    resourceName: {functions_url}/{route}
    inputMappings: [{{ source: $.context.n, target: $.input.n }}]
    outputMappings: [{{ source: $.output.n, target: $.context.n }}]
    next: {f"step{number + 1}" if number < STEPS else ""}"""
        for number, route in enumerate(ROUTES, start=1)
    )
    return f"workspace: load\ndagName: steps\ntype: flow\ntasks:{tasks}\n"


class Load:
    """What was submitted so far: each acknowledged id with its number, and the refusals."""

    def __init__(self, base_url: str) -> None:
        self.acknowledged: dict[str, int] = {}
        self.refused: list[str] = []
        self._base_url = base_url
        self._numbers = iter(range(1_000_000))
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def wait_for(self, count: int) -> None:
        """Wait until so many submissions were acknowledged."""
        give_up = time.monotonic() + PATIENCE_S
        while len(self.acknowledged) < count:
            assert time.monotonic() < give_up, self.refused[-3:]
            time.sleep(LOOK_S)

    def check_ends(self) -> None:
        """Check that every acknowledged execution ends right, with a context of its own."""
        with Api(self._base_url) as api:
            for execution_id, number in self.acknowledged.items():
                ended = api.end(execution_id, PATIENCE_S)
                assert ended.status == "SUCCEED", ended.shown
                assert ended.context["n"] == number * APART + STEPS, ended.shown

    def stop(self) -> None:
        """Submit no more."""
        self._stopped.set()

    def submit_until_stopped(self) -> None:
        """Submit one execution after the other; run by every caller."""
        with Api(self._base_url) as api:
            while not self._stopped.is_set():
                with self._lock:
                    number = next(self._numbers)
                self._submit(api, number)

    def _submit(self, api: Api, number: int) -> None:
        query = {"descriptor_id": "load:steps"}
        try:
            response = api.http.post("/flow/submit.json", params=query, json={"n": number * APART})
        except httpx.HTTPError as error:
            self.refused.append(repr(error))
            return
        if response.status_code == 200:
            self.acknowledged[response.json()["execution_id"]] = number
        else:
            self.refused.append(f"{response.status_code}: {response.text}")


@contextmanager
def under_load(base_url: str, functions_url: str) -> Iterator[Load]:
    """Keep submitting from many callers; when left, no more is submitted."""
    with Api(base_url) as api:
        assert api.add(steps(functions_url)).status == 200
    load = Load(base_url)
    with ThreadPoolExecutor(CALLERS) as callers:
        try:
            for _ in range(CALLERS):
                callers.submit(load.submit_until_stopped)
            yield load
        finally:
            load.stop()
