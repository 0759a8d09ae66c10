"""The queue of the requests that an owner has for one dispatcher: workspaces take turns.

One order takes what fits. Requests of one workspace, however many and large they are, hold up those
of another one by no more than an order. Those of one execution keep their order.

Used by `runtime/dispatch/client.py`.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from rillflow.ids import workspace_of
from rillflow.ports.gateway import DispatchRequest

MOST_IN_ORDER: Final = 500
"""A dispatcher takes them in one turn of its event loop, and orders of several owners in one."""
LONGEST_ORDER_BYTES: Final = 4 << 20
"""Limit of the bytes of one message; all that waits may be gigabytes."""


class OrderQueue:
    """Requests that were not sent yet."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[DispatchRequest]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._waiting)  # asked for each order, whatever the number of workspaces

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def add(self, requests: Iterable[DispatchRequest]) -> None:
        """Add requests at the end of the queues of their workspaces."""
        for request in requests:
            self._queue_of(request).append(request)

    def put_back(self, requests: Sequence[DispatchRequest]) -> None:
        """Add requests that could not be sent, before the others."""
        for request in reversed(requests):
            self._queue_of(request).appendleft(request)

    def clear(self) -> None:
        """Drop all requests."""
        self._waiting.clear()

    def take(self) -> list[DispatchRequest]:
        """Return the requests of the next order, one at least if there is any."""
        waiting = self._waiting
        if len(waiting) == 1:
            [queue] = waiting.values()
            size_bytes = sum([len(each.input) for each in queue])
            if len(queue) <= MOST_IN_ORDER and size_bytes <= LONGEST_ORDER_BYTES:
                waiting.clear()
                return list(queue)
        order: list[DispatchRequest] = []
        size_bytes = 0
        while waiting and len(order) < MOST_IN_ORDER:
            workspace, queue = next(iter(waiting.items()))
            size_bytes += len(queue[0].input)
            if order and size_bytes > LONGEST_ORDER_BYTES:
                break
            order.append(queue.popleft())
            if queue:
                waiting.move_to_end(workspace)
            else:
                del waiting[workspace]
        return order

    def __iter__(self) -> Iterator[DispatchRequest]:
        return chain.from_iterable(self._waiting.values())

    def _queue_of(self, request: DispatchRequest) -> deque[DispatchRequest]:
        workspace = workspace_of(request.execution_id)
        queue = self._waiting.get(workspace)
        if queue is None:
            queue = self._waiting[workspace] = deque()
        return queue
