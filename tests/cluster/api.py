"""The HTTP API as ``curl`` sees it: what a test sends, and the status and JSON that come back."""

import json
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import httpx
import yaml

Json: TypeAlias = Any

ADD: Final = "/flow/bg/manage/descriptor/add_descriptor.json"
WAIT_S: Final = 60
"""How long to wait for what comes at once on a machine of its own, and later on a busy one."""
LOOK_S: Final = 0.1
ENDED: Final = ("SUCCEED", "FAILED")


class Answer(NamedTuple):
    """An HTTP answer; ``body`` is its JSON."""

    status: int
    body: Json


class Ended(NamedTuple):
    """An execution that has ended, as ``get.json`` shows it."""

    execution_id: str
    shown: Json

    @property
    def status(self) -> str:
        """SUCCEED or FAILED."""
        return str(self.shown["dag_status"])

    @property
    def context(self) -> Json:
        """The root context."""
        return self.shown["context"]

    def task(self, name: str) -> Json:
        """One task of the top level."""
        return self.shown["tasks"][name]

    def task_statuses(self) -> dict[str, str]:
        """The status of every task of the top level."""
        return {name: task["status"] for name, task in self.shown["tasks"].items()}


class Api:
    """One stack over HTTP."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.http = httpx.Client(base_url=base_url, timeout=2 * WAIT_S, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.http.close()

    def ask(self, method: str, path: str, *, body: Json = None, **query: Any) -> Answer:
        """Send a request; text and bytes as they are, any other body as JSON."""
        content = body if isinstance(body, str | bytes) or body is None else json.dumps(body)
        response = self.http.request(method, path, params=query, content=content)
        return Answer(response.status_code, response.json())

    def follow(self, url: str, *, body: Json = None, method: str = "POST", **more: Any) -> Answer:
        """Send what a function would to its callback address; ``more`` joins the query."""
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query)) | more
        return self.ask(method, parts.path, body=body, **query)

    def add(self, text: str) -> Answer:
        """Add a definition under the names that it gives itself."""
        names = yaml.safe_load(text)
        return self.ask(
            "POST",
            ADD,
            body=text,
            business_id=names["workspace"],
            feature_name=names["dagName"],
            alias="release",
        )

    def submit(self, text_or_id: str, data: Json = None, **query: Any) -> str:
        """Submit a definition, added first when it is given as text; return the execution's id."""
        descriptor_id = text_or_id
        if "\n" in text_or_id:
            added = self.add(text_or_id)
            assert added.status == 200, added
            descriptor_id = added.body["descriptor_id"]
        answer = self.ask(
            "POST", "/flow/submit.json", body=data or {}, descriptor_id=descriptor_id, **query
        )
        assert answer.status == 200, answer
        return str(answer.body["execution_id"])

    def get(self, execution_id: str, **query: Any) -> Json:
        """Show an execution."""
        return self.ask("GET", "/flow/get.json", execution_id=execution_id, **query).body["ret"]

    def end(self, execution_id: str, wait_s: float = WAIT_S) -> Ended:
        """Wait for the end of an execution."""
        shown = self.get(execution_id, wait_s=wait_s)
        assert shown.get("dag_status") in ENDED, shown
        return Ended(execution_id, shown)

    def until(self, execution_id: str, holds: Callable[[Json], bool]) -> Json:
        """Look at an execution until something holds for it; return it as it was then."""
        give_up = time.monotonic() + WAIT_S
        while not holds(shown := self.get(execution_id)):
            assert time.monotonic() < give_up, shown
            time.sleep(LOOK_S)
        return shown

    def until_task(self, execution_id: str, task: str, status: str) -> Json:
        """Look at an execution until a task of the top level has a status; return the task."""
        shown = self.until(execution_id, lambda shown: shown["tasks"][task]["status"] == status)
        return shown["tasks"][task]

    def run(self, text: str, data: Json = None, **query: Any) -> Ended:
        """Add a definition, submit it and wait for the end."""
        return self.end(self.submit(text, data, **query))

    def group(self, execution_id: str, parent: str, index: int) -> Json:
        """Show the members of one group by their names."""
        shown = self.ask(
            "GET",
            "/flow/get_by_parent.json",
            execution_id=execution_id,
            parent=parent,
            group_index=index,
        )
        return shown.body["ret"]["tasks"]

    def trigger(self, execution_id: str, task: str, *, body: Json = None, **query: Any) -> Answer:
        """Report the outcome of a task, or a signal, through ``trigger.json``."""
        return self.ask(
            "POST",
            "/flow/trigger.json",
            body=body,
            execution_id=execution_id,
            task_name=task,
            **query,
        )

    def wake_up(self, execution_id: str, task: str, data: Json = None) -> Answer:
        """Send a signal to a suspense."""
        return self.ask(
            "POST",
            "/flow/wakeup.json",
            body=data or {},
            execution_id=execution_id,
            task_name=task,
        )


class Functions:
    """The function process (``function_service.py``) as a test sees it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.Client(base_url=url, timeout=2 * WAIT_S, trust_env=False)

    def calls(self, execution_id: str, count: int = 0) -> list[Json]:
        """Wait for ``count`` calls of an execution, and return all that have come."""
        calls: list[Json] = self._http.get(
            f"/_calls/{execution_id}", params={"count": count}
        ).json()
        return calls

    def open(self, gate: str) -> None:
        """Let the calls that wait at a gate go on, now and later."""
        self._http.post(f"/_open/{gate}")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
