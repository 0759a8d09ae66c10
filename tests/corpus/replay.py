"""Plays recorded workflows against a stack and tells where their outcomes differ.

python -m tests.corpus.replay --base-url http://127.0.0.1:8080 [--only g0007,g0012] [--show]
"""

import argparse
import asyncio
import gzip
import json
import sys
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import aiohttp

from tests.corpus.caller import Caller, Json
from tests.corpus.comparison import differences
from tests.corpus.gateway import ScriptedGateway, Session
from tests.corpus.normal import Normal

CORPUS: Final = Path(__file__).with_name("corpus.jsonl.gz")
ADD: Final = "/flow/bg/manage/descriptor/add_descriptor.json"
GET: Final = "/flow/get.json"
ENDED: Final = ("SUCCEED", "FAILED")
AT_REST_S: Final = 1.5
"""After so long without any traffic, an execution that is to stay RUNNING is at rest."""
SETTLED_S: Final = 0.15
"""So long nothing comes any more after an end."""
LIMIT_S: Final = 40.0
LOOK_S: Final = 0.05
BETWEEN_SIGNALS_S: Final = 0.12


def load_cases() -> list[Json]:
    """Read all cases."""
    with gzip.open(CORPUS, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


async def replay(base_url: str, cases: Iterable[Json], *, jobs: int) -> dict[str, Json]:
    """Play cases, ``jobs`` at once, and return the outcome of each by its id."""
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=LIMIT_S)
        http = aiohttp.ClientSession(timeout=timeout, connector=connector)
        caller = Caller(await stack.enter_async_context(http), base_url)
        gateway = ScriptedGateway(caller)
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        turn = asyncio.Semaphore(jobs)

        async def play(case: Json) -> tuple[str, Json]:
            async with turn:
                return case["id"], await Run(case, caller, gateway).play()

        return dict(await asyncio.gather(*(play(case) for case in cases)))


class Run:
    """One run of one case, under a business id that nobody else has."""

    def __init__(self, case: Json, caller: Caller, gateway: ScriptedGateway) -> None:
        self._case, self._caller, self._gateway = case, caller, gateway
        self._business = f"corpus{uuid.uuid4().hex[:12]}"
        self._url = gateway.url(self._business)
        self._normal = Normal(self._business, self._url, case.get("unordered", []))
        self._session = Session(case.get("gateway", {}))

    async def play(self) -> Json:
        """Play it and return the outcome in its normal form."""
        self._gateway.sessions[self._business] = self._session
        try:
            return await self._play()
        finally:
            del self._gateway.sessions[self._business]

    async def _play(self) -> Json:
        for flow, text in self._case["flows"].items():
            names = {"business_id": self._business, "feature_name": flow, "alias": "release"}
            status, answer = await self._caller.call("POST", ADD, names, text=self._filled(text))
            if status != 200:
                return self._refused("ADD_ERROR", flow, status, answer)
        target = self._filled(self._case.get("submit", "${B}:main"))
        data = self._case.get("input", {})
        query = {"descriptor_id": target}
        status, answer = await self._caller.call("POST", "/flow/submit.json", query, body=data)
        if status != 200:
            return self._refused("SUBMIT_ERROR", target.rpartition(":")[2], status, answer)
        execution_id = answer["execution_id"]
        signals = asyncio.gather(
            *(self._signal(execution_id, action) for action in self._case.get("actions", []))
        )
        try:
            stuck = not await self._settles(execution_id)
        finally:
            signals.cancel()
            await asyncio.gather(signals, return_exceptions=True)
        outcome = await self._collect(execution_id)
        calls = self._normal.calls(self._session.calls)
        return {**outcome, "calls": calls, **({"outcome": "STUCK"} if stuck else {})}

    def _filled(self, text: str) -> str:
        return text.replace("${GW}", self._url).replace("${B}", self._business)

    def _refused(self, kind: str, flow: str, status: int, answer: Json) -> Json:
        said: Mapping[str, Json] = answer if isinstance(answer, dict) else {}
        message = self._normal.message(said.get("error"))
        code = said.get("error_code")
        error = {"flow": flow, "status": status, "code": code, "msg": message}
        return {"outcome": kind, "error": error}

    async def _signal(self, execution_id: str, action: Json) -> None:
        """Send the bodies of an action, once its task has the status for it."""
        task, wanted = action["task"], action.get("when", "RUNNING")
        while True:
            shown = await self._caller.shown(GET, execution_id=execution_id)
            if (shown.get("tasks") or {}).get(task, {}).get("status") == wanted:
                break
            await asyncio.sleep(LOOK_S)
        path = f"/flow/{'trigger' if action['do'] == 'trigger' else 'wakeup'}.json"
        for body in action["bodies"]:
            await asyncio.sleep(BETWEEN_SIGNALS_S)
            self._session.touch()
            query = {"execution_id": execution_id, "task_name": task}
            await self._caller.call("POST", path, query, body=body)
            self._session.touch()

    async def _settles(self, execution_id: str) -> bool:
        """Wait for the end, or for rest where no end is expected; tell whether either came."""
        rests = self._case["expect"]["outcome"] == "RUNNING"
        give_up = time.monotonic() + LIMIT_S
        while time.monotonic() < give_up:
            shown = await self._caller.shown(GET, execution_id=execution_id)
            ended = shown.get("dag_status") in ENDED
            # A child that its parent does not wait for may never end.
            if (ended or rests) and self._session.quiet_s() > AT_REST_S:
                return True
            settled = ended and self._session.quiet_s() > SETTLED_S
            if settled and await self._children_ended(shown, execution_id):
                return True
            await asyncio.sleep(LOOK_S)
        return False

    async def _children_ended(self, shown: Json, execution_id: str) -> bool:
        if not self._case.get("subflow"):
            return True
        tasks, _ = await self._instances(shown, execution_id)
        for child in filter(None, map(self._child_of, tasks.values())):
            if (await self._caller.shown(GET, execution_id=child)).get("dag_status") not in ENDED:
                return False
        return True

    def _child_of(self, task: Json) -> str:
        child = (task.get("invoke_msg") or {}).get("referenced_dag_execution_id") or ""
        return child if child.startswith(f"{self._business}:") else ""

    async def _instances(self, shown: Json, execution_id: str) -> tuple[Json, Json]:
        """Return all instances below what is shown, and the contexts of their groups."""
        found: Json = {}
        contexts: Json = {}
        shown_tasks = shown.get("tasks")
        for name, task in (shown_tasks if isinstance(shown_tasks, dict) else {}).items():
            found[name] = task
            for index in task.get("sub_group_index_to_status") or {}:
                group = {"execution_id": execution_id, "parent": name, "group_index": index}
                members = await self._caller.shown("/flow/get_by_parent.json", **group)
                context = await self._caller.shown("/flow/get_sub_context.json", **group)
                if kept := self._normal.value(context):
                    contexts[f"{name}_{index}"] = kept
                below, contexts_below = await self._instances(members, execution_id)
                found |= below
                contexts |= contexts_below
        return found, contexts

    async def _collect(self, execution_id: str) -> Json:
        shown = await self._caller.shown(GET, execution_id=execution_id)
        tasks, contexts = await self._instances(shown, execution_id)
        context = await self._caller.shown("/flow/get_context.json", execution_id=execution_id)
        outcome = {
            "outcome": shown.get("dag_status"),
            "tasks": {name: self._normal.task(task) for name, task in tasks.items()},
            "context": self._normal.value(context),
        }
        if [task.get("status") for task in tasks.values()].count("FAILED") == 1:
            # Of several, any may be the one that is quoted.
            outcome["dag_msg"] = self._normal.told(shown.get("dag_invoke_msg") or {})
        if contexts:
            outcome["sub_contexts"] = contexts
        children = {name: child for name, task in tasks.items() if (child := self._child_of(task))}
        if children:
            outcome["children"] = {n: await self._collect(child) for n, child in children.items()}
        return outcome


def report(cases: Iterable[Json], outcomes: Mapping[str, Json]) -> Iterator[str]:
    """Tell of each case that differs, in one line, where it does first."""
    for case in cases:
        places = differences(case, outcomes[case["id"]])
        if places:
            more = f" (and {len(places) - 4} more)" if len(places) > 4 else ""
            yield f"{case['id']}: {'; '.join(places[:4])}{more}"


def main() -> None:
    """Play the cases that are asked for and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--jobs", type=int, default=16)
    parser.add_argument("--only", default="", help="ids, comma-separated")
    parser.add_argument("--show", action="store_true", help="print definitions and outcomes")
    given = parser.parse_args()
    only = {name for name in given.only.split(",") if name}
    cases = [case for case in load_cases() if not only or case["id"] in only]
    outcomes = asyncio.run(replay(given.base_url, cases, jobs=given.jobs))
    write = sys.stdout.write
    if given.show:
        for case in cases:
            shown = json.dumps(outcomes[case["id"]], indent=1, sort_keys=True)
            write("\n".join([*case["flows"].values(), shown, ""]))
    failed = list(report(cases, outcomes))
    write("".join(f"{line}\n" for line in failed))
    write(f"{len(cases) - len(failed)} passed, {len(failed)} failed\n")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
