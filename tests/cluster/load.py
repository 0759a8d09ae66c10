"""Executions submitted by many callers at once, and what each of them was told."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, NamedTuple

import httpx

from tests.cluster.api import Api, Json

CALLERS: Final = 8
STEPS: Final = 5
APART: Final = 1000
"""Each execution counts up from a multiple of this, so that contexts cannot be mistaken."""
PATIENCE_S: Final = 60.0
LOOK_S: Final = 0.005
REFUSED_S: Final = 0.1
CUT: Final = -1
"""In place of a status: the connection was refused, or cut before the answer."""
ROUTES: Final = ("answer", "late", "answer", "early", "answer")


class Flow(NamedTuple):
    """What is submitted: a definition that adds to the number ``n`` of its context."""

    name: str
    text: str
    adds: int


def steps(functions_url: str) -> Flow:
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
    return Flow("steps", f"workspace: load\ndagName: steps\ntype: flow\ntasks:{tasks}\n", STEPS)


def mixture(functions_url: str) -> Flow:
    """Return a definition with a call, a callback, a loop of calls, a timer and a callback.

    Its tasks are called in the order of their names.
    """
    text = f"""
workspace: load
dagName: mixture
type: flow
tasks:
  - name: aCall
    category: function
    pattern: task_sync
    resourceName: {functions_url}/answer
    inputMappings: [{{ source: $.context.n, target: $.input.n }}]
    outputMappings: [{{ source: $.output.n, target: $.context.n }}]
    next: bCallback
  - name: bCallback
    category: function
    pattern: task_async
    resourceName: {functions_url}/late
    inputMappings: [{{ source: $.context.n, target: $.input.n }}]
    outputMappings: [{{ source: $.output.n, target: $.context.n }}]
    next: cLoop
  - name: cLoop
    category: foreach
    inputMappings: [{{ source: "[1, 2, 3]", target: $.input.numbers }}]
    iterationMapping: {{ collection: $.input.numbers, item: number }}
    tasks:
      - name: cItem
        category: function
        pattern: task_async
        resourceName: {functions_url}/late
        inputMappings: [{{ source: $.context.number, target: $.input.n }}]
    next: dWait
  - name: dWait
    category: pass
    timeline: {{ suspenseIntervalSeconds: "1" }}
    next: eSoon
  - name: eSoon
    category: function
    pattern: task_async
    resourceName: {functions_url}/early
    inputMappings: [{{ source: $.context.n, target: $.input.n }}]
    outputMappings: [{{ source: $.output.n, target: $.context.n }}]
"""
    return Flow("mixture", text, adds=3)


def check_mixture_calls(calls: list[Json], kills: int) -> None:
    """Check that no task was called after one that follows it, nor too often, nor as another.

    Args:
        calls: All calls of one execution of ``mixture``.
        kills: How often something was killed, after which a call may come again.
    """
    names = [call["task"] for call in calls]
    assert [name[0] for name in names] == sorted(name[0] for name in names), names
    keys = defaultdict(set)
    for call in calls:
        keys[call["task"]].add(call["headers"]["idempotency-key"])
    assert all(len(of_task) == 1 for of_task in keys.values()), keys
    assert len(keys) == 6, names
    assert all(names.count(name) <= 1 + kills for name in keys), names


def ended_ms(shown: Json) -> int:
    """Return when the last task of an execution ended, by the clock of this machine."""
    infos = (task.get("invoke_msg", {}) for task in shown["tasks"].values())
    times = (each["invoke_time_infos"] for each in infos if each.get("invoke_time_infos"))
    return max(int(each[-1]["end_time"]) for each in times if "end_time" in each[-1])


class Refusal(NamedTuple):
    """A submission without success: its status, and what was said."""

    status: int
    why: str


class Load:
    """What was submitted so far: each acknowledged id with its number, and the refusals."""

    def __init__(
        self, base_urls: Sequence[str], flow: Flow, dedicated_every: int, pause_s: float
    ) -> None:
        self._flow = flow
        self._pause_s = pause_s
        self._dedicated_every = dedicated_every
        self.acknowledged: dict[str, int] = {}
        self.refused: list[Refusal] = []
        self.slowest_s = 0.0
        """The longest that any request has taken until its answer."""
        self._base_urls = base_urls
        self._numbers = iter(range(1_000_000))
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def wait_for(self, count: int) -> None:
        """Wait until so many submissions were acknowledged."""
        give_up = time.monotonic() + PATIENCE_S
        while len(self.acknowledged) < count:
            assert time.monotonic() < give_up, self.refused[-3:]
            time.sleep(LOOK_S)

    def check_ends(self) -> list[int]:
        """Check that every acknowledged execution ends right, with a context of its own.

        Returns:
            When each has ended, see ``ended_ms``.
        """
        ends = []
        with Api(self._base_urls[0]) as api:
            for execution_id, number in self.acknowledged.items():
                ended = api.end(execution_id, PATIENCE_S)
                assert ended.status == "SUCCEED", ended.shown
                assert ended.context["n"] == number * APART + self._flow.adds, ended.shown
                ends.append(ended_ms(ended.shown))
        return ends

    def check_refusals(self) -> None:
        """Check that whoever was not served was told to come again, or was cut off."""
        assert {refusal.status for refusal in self.refused} <= {CUT, 502, 503}, self.refused

    def stop(self) -> None:
        """Submit no more."""
        self._stopped.set()

    def submit_until_stopped(self, caller: int) -> None:
        """Submit one execution after the other; run by every caller.

        One whose connection is refused, or cut, goes on at the next address.
        """
        while not self._stopped.is_set():
            with Api(self._base_urls[caller % len(self._base_urls)]) as api:
                while not self._stopped.is_set():
                    with self._lock:
                        number = next(self._numbers)
                    if not self._is_answered(api, number):
                        break
                    self._stopped.wait(self._pause_s)
            caller += 1

    def _is_answered(self, api: Api, number: int) -> bool:
        query = {"descriptor_id": f"load:{self._flow.name}"}
        if self._dedicated_every and number % self._dedicated_every == 0:
            query["isolation"] = "dedicated"
        begun_s = time.monotonic()
        try:
            response = api.http.post("/flow/submit.json", params=query, json={"n": number * APART})
        except httpx.HTTPError as error:
            is_cut = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
            self.refused.append(Refusal(CUT if is_cut else 0, repr(error)))
            time.sleep(REFUSED_S)
            return False
        finally:
            self.slowest_s = max(self.slowest_s, time.monotonic() - begun_s)
        if response.status_code == 200:
            self.acknowledged[response.json()["execution_id"]] = number
        else:
            self.refused.append(Refusal(response.status_code, response.text))
        return True


@contextmanager
def under_load(
    base_url: str,
    flow: Flow,
    *,
    also: Sequence[str] = (),
    dedicated_every: int = 0,
    pause_s: float = 0.03,
) -> Iterator[Load]:
    """Keep submitting from many callers; when left, no more is submitted.

    The callers have this address and those ``also`` given, in turns. Each ``dedicated_every``-th
    execution is to have an actor of its own. Each caller pauses after each submission.
    """
    with Api(base_url) as api:
        assert api.add(flow.text).status == 200
    load = Load([base_url, *also], flow, dedicated_every, pause_s)
    with ThreadPoolExecutor(CALLERS) as callers:
        try:
            for caller in range(CALLERS):
                callers.submit(load.submit_until_stopped, caller)
            yield load
        finally:
            load.stop()
