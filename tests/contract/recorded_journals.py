"""Journals as a release has written them, with what its executions looked like then.

    python -m tests.contract.recorded_journals     (records those of this release)

Each release has one file, ``journals/<version>.jsonl.gz``, which is never changed once the
version is released. Before that it may be recorded anew.
"""

import base64
import gzip
import json
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rillflow.core.encoding.codec import decode_event, encode_event
from rillflow.core.events import Event
from rillflow.core.machine import outstanding
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.definition.canonical import canonical_text
from tests.spec.notation import Definition
from tests.spec.random_flows import Player, flows

FOLDER: Final = Path(__file__).with_name("journals")
EXAMPLES: Final = 1_000
MOST_STEPS: Final = 60

Outline = dict[str, Any]


class Recorded(NamedTuple):
    """One execution: the stored text of its workflow, its records, a snapshot on the way.

    ``snapshot`` holds the first ``snapshot_seq`` records. ``outline`` is what the release
    that wrote them made of all records.
    """

    definition: str
    records: tuple[bytes, ...]
    snapshot: bytes
    snapshot_seq: int
    outline: Outline


def outline_of(plan: Plan, state: ExecutionState) -> Outline:
    """Tell what any release must make of the same journal: results, and what is wanted yet.

    Messages are left out: a release may word them otherwise.
    """
    wanted = [
        [type(command).__name__, getattr(command, "task", ""), getattr(command, "attempt", 0)]
        for command in outstanding(plan, state)
    ]
    outline = {
        "status": state.status.name,
        "context": _without_message(state.context),
        "contexts": {
            route: _without_message(group.context) for route, group in state.groups.items()
        },
        "tasks": {
            name: [task.status.name, task.attempt, task.invoke.output]
            for name, task in state.tasks.items()
        },
        "wanted": sorted(wanted),
    }
    plain: Outline = json.loads(json.dumps(outline))
    return plain


def _without_message(context: dict[str, Any]) -> dict[str, Any]:
    """Leave out how the error was worded that a ``catch`` has put into a context."""
    error = context.get("error")
    if not isinstance(error, dict):
        return context
    return {**context, "error": {key: error[key] for key in error if key != "msg"}}


def read_recorded(path: Path) -> Iterator[Recorded]:
    """Yield the executions of one file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            fields = json.loads(line)
            fields["records"] = tuple(map(base64.b64decode, fields["records"]))
            fields["snapshot"] = base64.b64decode(fields["snapshot"])
            yield Recorded(**fields)


def record() -> list[Recorded]:
    """Play random workflows and return their journals.

    Raises:
        AssertionError: There is a kind of event that none of them has.
    """
    recorded: dict[tuple[bytes, ...], Recorded] = {}

    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(flows(), st.integers(0, 2**32))
    def play(definition: Definition, seed: int) -> None:
        played = _played(definition, seed)
        recorded[played.records] = played

    play()
    kinds = {type(decode_event(record)) for each in recorded.values() for record in each.records}
    missing = {kind.__name__ for kind in set(get_args(Event)) - kinds}
    if missing:
        raise AssertionError(f"no journal has events of these kinds: {missing}")
    return list(recorded.values())


def _played(definition: Definition, seed: int) -> Recorded:
    player = Player(definition, seed)
    run = player.run
    for number in range(MOST_STEPS):
        if number % 4 == 3:
            player.disturb()
        if not player.step():
            break
    player.disturb()
    middle = len(run.journal) // 2
    return Recorded(
        definition=canonical_text(run.plan.definition),
        records=tuple(map(encode_event, run.journal)),
        snapshot=run.states[middle],
        snapshot_seq=middle + 1,
        outline=outline_of(run.plan, run.state),
    )


def main() -> None:
    """Write the file of this release."""
    recorded = record()
    path = FOLDER / f"{version('rillflow')}.jsonl.gz"
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for each in recorded:
            fields = each._asdict()
            fields["records"] = [base64.b64encode(record).decode() for record in each.records]
            fields["snapshot"] = base64.b64encode(each.snapshot).decode()
            file.write(json.dumps(fields).encode() + b"\n")
    sys.stdout.write(f"{path}: {len(recorded)} executions, {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
