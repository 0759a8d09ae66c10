"""Whatever is done to a SQLite store, it answers as the memory store does.

The SQLite store has everything that is longer than a byte apart from its journal.
"""

import asyncio
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rillflow.errors import StoreError
from rillflow.ports.storage.aliases import AliasName
from rillflow.ports.storage.store import Append, Closing, ExecutionFilter
from rillflow.stores import open_store
from tests.contract.appends import follow, id_of, submit
from tests.fuzzing import examples

NUMBERS = st.integers(0, 4)
PARTITIONS = st.integers(0, 2)
STATUSES = st.sampled_from(["RUNNING", "KEY_SUCCEED", "FAILED"])
RECORDS = st.lists(st.binary(max_size=3), max_size=3).map(tuple)
CLOSINGS = st.builds(
    Closing,
    status=STATUSES,
    code=st.sampled_from([None, "E1", "E2"]),
    finished_at_ms=st.integers(0, 9),
)
FILTERS = st.builds(
    ExecutionFilter,
    business=st.sampled_from([None, "shop", "bank"]),
    statuses=st.none() | st.lists(STATUSES, max_size=2).map(tuple),
    code=st.sampled_from([None, "E1"]),
    from_ms=st.none() | st.integers(0, 5),
    to_ms=st.none() | st.integers(0, 5),
)


class StoresAgree(RuleBasedStateMachine):
    """Do the same to both, with good and bad arguments, and compare."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.memory = open_store("memory:")
        self.sqlite = open_store(
            f"sqlite://{Path(self.folder.name)}/rillflow.db", large_value_bytes=1
        )
        self.epochs = [0]
        self.both("open")

    def teardown(self) -> None:
        self.both("close")
        self.runner.close()
        self.folder.cleanup()

    def both(self, method: str, *arguments: object, **options: object) -> Any:
        answers = [
            self.runner.run(_answer(getattr(store, method)(*arguments, **options)))
            for store in (self.memory, self.sqlite)
        ]
        assert answers[0] == answers[1]
        return answers[0]

    @rule(partitions=st.lists(PARTITIONS, max_size=2))
    def take(self, partitions: list[int]) -> None:
        self.epochs.append(self.both("take_scopes", partitions))

    @rule(data=st.data())
    def append(self, data: st.DataObject) -> None:
        appends = [self._draw(data) for _ in range(data.draw(st.integers(1, 3)))]
        self.both("append", appends)

    @rule()
    def reopen(self) -> None:
        self.both("close")
        self.both("open")

    @rule(ended_before_ms=st.integers(0, 10), keep=st.integers(0, 3), limit=st.integers(0, 3))
    def look_for_old_ones(self, ended_before_ms: int, keep: int, limit: int) -> None:
        self.both("purgeable", ended_before_ms=ended_before_ms, keep=keep, limit=limit)

    @rule(numbers=st.lists(NUMBERS, max_size=3), ended_before_ms=st.integers(0, 10))
    def purge(self, numbers: list[int], ended_before_ms: int) -> None:
        ids = [id_of(number) for number in numbers]
        self.both("purge", ids, ended_before_ms=ended_before_ms, most_records=1_000)

    @rule(wanted=FILTERS, limit=st.integers(0, 4), offset=st.integers(0, 2))
    def ask(self, wanted: ExecutionFilter, limit: int, offset: int) -> None:
        self.both("list_executions", wanted, limit=limit, offset=offset)
        self.both("count_executions", wanted)
        self.both("count_codes", wanted)

    @rule(version=st.sampled_from("abc"), alias=st.sampled_from("xy"), at_ms=st.integers(0, 3))
    def add_version(self, version: str, alias: str, at_ms: int) -> None:
        self.both(
            "add_version", "shop", "order", alias, version, f"text {at_ms}", at_ms=at_ms, keep=2
        )

    @rule(names=st.sampled_from([(), ("order",), ("order", "x"), ("order", "y")]))
    def unregister(self, names: tuple[str, ...]) -> None:
        self.both("unregister", "shop", *names)

    @rule(names=st.sampled_from([(), ("order",), ("order", "x")]))
    def register(self, names: tuple[str, ...]) -> None:
        self.both("register", "shop", *names)

    @invariant()
    def executions_agree(self) -> None:
        for number in range(5):
            self.both("load", id_of(number))
            self.both("children", id_of(number))
        self.both("unfinished", [0, 1])
        for key in ("k1", "k2"):
            self.both("find_by_idempotency_key", "shop", "order", key)

    @invariant()
    def catalogues_agree(self) -> None:
        self.both("alias_rows", AliasName(), limit=9)
        self.both("alias_rows", AliasName("shop", "order", "x"), limit=1)
        self.both("youngest_aliases", limit=9)
        self.both("youngest_aliases", "shop", "order", limit=1, offset=1)
        self.both("listed_versions", "shop", "order", limit=9)
        self.both("listed_versions", "shop", "order", before=(3, "b"), limit=1)
        for alias in "xy":
            self.both("versions", "shop", "order", alias)
        for version in "abc":
            self.both("has_version", "shop", "order", version)
            self.both("definition_text", version)

    def _draw(self, data: st.DataObject) -> Append:
        number, records = data.draw(NUMBERS), data.draw(RECORDS)
        facts: dict[str, Any] = {
            "partition": data.draw(PARTITIONS),
            "epoch": data.draw(st.sampled_from(self.epochs[-2:])),
            "status": data.draw(st.none() | STATUSES),
            "closing": data.draw(st.none() | CLOSINGS),
            "snapshot": data.draw(st.none() | st.binary(max_size=2)),
            "snapshot_seq": data.draw(st.integers(0, 3)),
            "rests": data.draw(st.none() | st.booleans()),
        }
        stored = self.runner.run(self.memory.load(id_of(number)))
        if stored is None or data.draw(st.integers(0, 9)) == 0:
            key = data.draw(st.sampled_from([None, None, "k1", "k2"]))
            parent = data.draw(st.none() | NUMBERS.map(id_of))
            return submit(number, *records, idempotency_key=key, parent_id=parent, **facts)
        next_seq = stored.snapshot_seq + len(stored.records) + 1
        wrong_by = data.draw(st.sampled_from([0, 0, 0, 0, 0, -1, 1]))
        return follow(number, next_seq + wrong_by, *records, **facts)


async def _answer(call: Awaitable[Any]) -> Any:
    """Return the answer, or the class of the refusal: messages may differ."""
    try:
        return await call
    except StoreError as error:
        return type(error)


TestStoresAgree = StoresAgree.TestCase
TestStoresAgree.settings = settings(
    max_examples=examples(25),
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow],
)
