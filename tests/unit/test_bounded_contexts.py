"""A context has a limit as a whole, and its texts count by the bytes that they take as JSON."""

import random
from typing import Final

import msgspec
import pytest

from rillflow.core import machine
from rillflow.core.encoding.codec import decode_state, encode_state
from rillflow.core.encoding.stored_context import json_bytes
from rillflow.core.plan import Plan
from rillflow.core.state import ExecutionState
from rillflow.core.status import DagStatus, TaskStatus
from rillflow.definition import parse_definition
from rillflow.jsontypes import encode_json
from rillflow.language.versions import CURRENT, EVENTS_CUT_BY_WORK
from tests.submissions import submission_event

MOST_BYTES: Final = 64 * 1024
TEXT: Final = "x" * 1_000
PLACES: Final = 40
HEADER: Final = "workspace: bounded\ndagName: contexts\ntype: flow\ntasks:\n"
EACH: Final = """
- name: each
  category: foreach
  iterationMapping: { collection: $.input.items, item: item }
  inputMappings:
    - { source: $.context.items, target: $.input.items }
    - { source: $.context.text, target: $.input.text }
  tasks:
"""


def saves(names: list[str], indent: str = "") -> str:
    """Return tasks in a row, each of which puts 40 copies of a text under a name."""
    lines = []
    for number, name in enumerate(names):
        following = f", next: save{number + 1}" if number + 1 < len(names) else ""
        lines.append(f"{indent}- name: save{number}")
        lines.append(f"{indent}  category: pass{following.replace(', ', f'{chr(10)}{indent}  ')}")
        lines.append(f"{indent}  outputMappings:")
        for place in range(PLACES):
            target = f"$.context.{name}.p{place}"
            lines.append(f"{indent}    - {{ source: $.context.text, target: {target} }}")
    return "\n".join(lines) + "\n"


def ended(tasks: str, *, text: str = TEXT, language: int = CURRENT) -> ExecutionState:
    """Return the state in which an execution of pass tasks is after its submission."""
    plan = Plan(parse_definition(HEADER + tasks), "bounded")
    event = submission_event(
        "bounded:contexts_c_00000000-0000-7000-8000-000000000000",
        plan.definition_id,
        data=encode_json({"text": text, "items": [1, 2]}),
        context_max_bytes=MOST_BYTES,
    )
    return machine.submit(plan, msgspec.structs.replace(event, language=language))[0]


def kept(state: ExecutionState) -> list[str]:
    """Return the names of the instances whose save was kept."""
    return [name for name, task in state.tasks.items() if task.status is TaskStatus.SUCCEED]


def test_a_text_counts_as_the_bytes_that_it_takes() -> None:
    choice = random.Random(1).choices  # noqa: S311 - texts for a test
    for text in ("plain", "a\nb", "\x01", "é", "字", "😀", "\x7f", "\t\x02'"):
        assert json_bytes(text) == len(msgspec.json.encode(text)) - 2
    for _ in range(200):
        text = "\x00" + "".join(map(chr, choice(range(0xD000), k=20)))
        text = text.replace('"', "").replace("\\", "")
        assert json_bytes(text) == len(msgspec.json.encode(text)) - 2


def test_a_context_that_grows_step_by_step_has_a_limit() -> None:
    state = ended(saves([f"kept{number}" for number in range(6)]))
    assert kept(state) == ["save0", "save1", "save2"]
    assert state.status is DagStatus.FAILED
    assert "the context would have more than 131072 bytes as a whole" in str(
        state.tasks["save3"].invoke.msg
    )
    assert len(encode_json(state.context)) <= 2 * MOST_BYTES


def test_what_is_replaced_does_not_count() -> None:
    assert ended(saves(["same"] * 6)).status is DagStatus.SUCCEED


def test_an_execution_of_an_older_version_has_no_such_limit() -> None:
    names = [f"kept{number}" for number in range(6)]
    state = ended(saves(names), language=EVENTS_CUT_BY_WORK)
    assert state.status is DagStatus.SUCCEED


def test_the_context_of_each_group_has_the_limit() -> None:
    names = [f"kept{number}" for number in range(6)]
    state = ended(EACH + saves(names, "    "))
    assert kept(state) == [f"each_{group}-save{task}" for group in (0, 1) for task in range(3)]


@pytest.mark.parametrize(("character", "status"), [("x", "SUCCEED"), ("\x01", "FAILED")])
def test_a_save_counts_bytes_of_json(character: str, status: str) -> None:
    text = character * (MOST_BYTES // PLACES // 2)
    assert ended(saves(["kept"]), text=text).status.name == status


def test_a_snapshot_keeps_how_much_a_context_has_grown() -> None:
    state = ended(EACH + saves(["kept"], "    "))
    again = decode_state(encode_state(state))
    assert again.context_bytes == state.context_bytes > 0
    for route, group in state.groups.items():
        assert again.groups[route].context_bytes == group.context_bytes
        assert group.context_bytes >= len(encode_json(group.context))
