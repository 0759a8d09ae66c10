"""Traces of executions as they end, beside a server that runs in the same terminal.

Used by `cli/commands/serving.py`.
"""

import threading
import time
from pathlib import Path
from typing import Final

from cachetools import LRUCache

from rillflow.cli.output.console import console_of
from rillflow.cli.output.waterfall import show_trace
from rillflow.client.clients import DEFAULT_TIMEOUT_S, Client
from rillflow.client.ended_executions import ended_executions
from rillflow.client.http_transport.transport import HttpTransport
from rillflow.errors import RillflowError

MOST_PER_S: Final = 4
"""How many traces are written in a second; the other executions are counted."""
_REMEMBERED: Final = 10_000


class EndedTraces:
    """Writes the trace of each execution that ends, from a thread of its own."""

    def __init__(self, url: str, api_key: str | None, certificate: Path | None = None) -> None:
        """Ask the stack at an address, with its key, and know it by its certificate."""
        self._url = url
        self._api_key = api_key
        self._certificate = certificate
        self._stopped = threading.Event()
        self._shown = LRUCache[str, int](_REMEMBERED)
        self._second = 0
        self._in_second = 0
        self._left_out = 0
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write no more."""
        self._stopped.set()

    def _run(self) -> None:
        asked = self._url, self._api_key
        transport = HttpTransport(self._url, DEFAULT_TIMEOUT_S, self._api_key, self._certificate)
        with Client(transport=transport) as client:
            for execution_id in ended_executions(*asked, self._stopped, self._certificate):
                self._show(client, execution_id)

    def _show(self, client: Client, execution_id: str) -> None:
        if self._is_too_much():
            self._left_out += 1
            return
        try:
            trace = client.execution(execution_id).trace()
        except RillflowError:
            return  # it was removed, or the stack ends
        number = trace["round"] if isinstance(trace["round"], int) else 0
        if self._stopped.is_set() or self._shown.get(execution_id, 0) >= number:
            return
        self._shown[execution_id] = number
        console = console_of()
        if self._left_out:
            console.print(f"... {self._left_out} more executions have ended", style="dim")
            self._left_out = 0
        console.print()
        show_trace(console, trace)

    def _is_too_much(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        return self._in_second > MOST_PER_S
