"""Executions with wide foreaches, handled event by event as an owner does.

Used by `tests/spec/test_wide_executions.py` and `tests/spec/test_foreach_in_portions.py`.
"""

from typing import Any, Final

from rillflow.core import machine
from rillflow.core.agenda import EXECUTION_MAX_TASKS, REMAINING
from rillflow.core.commands import Command, DispatchTask
from rillflow.core.events import DispatchAnswered, Event, TimerFired
from rillflow.core.plan import Plan
from rillflow.core.status import TaskStatus
from rillflow.definition import parse_definition
from rillflow.jsontypes import JsonObject, JsonValue, encode_json
from rillflow.language.budget import TURN_MAX_BYTES, TURN_MAX_STEPS
from rillflow.language.versions import CURRENT
from tests.submissions import submission_event

HEAD: Final = "workspace: demo\ndagName: wide\ntype: flow\ntasks:\n"
EACH: Final = """
- name: E
  category: foreach
  iterationMapping: {collection: $.input.outer, item: item}
  inputMappings:
  - {source: $.context.outer, target: $.input.outer}
  - {source: $.context.inner, target: $.input.inner}
"""
NESTED: Final = f"""{HEAD}{EACH}
  tasks:
  - name: F
    category: foreach
    iterationMapping: {{collection: $.input.inner, item: each}}
    inputMappings: [{{source: $.context.inner, target: $.input.inner}}]
    tasks: [{{name: P, category: pass}}]
"""
PASSES: Final = f"{HEAD}{EACH}  tasks: [{{name: P, category: pass}}]\n"
SHARED: Final = f"""{HEAD}
- name: E
  category: foreach
  iterationMapping: {{collection: $.input.outer, item: item}}
  inputMappings:
  - {{source: $.context.outer, target: $.input.outer}}
  - {{source: $.context.doc, target: $.input.doc}}
  tasks:
  - name: P
    category: pass
    inputMappings: [{{source: $.context.doc, target: $.input.doc}}]
"""
CALLS: Final = f"""{HEAD}{EACH}
  next: Z
  tasks: [{{name: P, category: function, pattern: task_sync, resourceName: "http://f/"}}]
- {{name: Z, category: pass}}
"""
CHOICES: Final = f"""{HEAD}{EACH}
  tasks:
  - name: C
    category: choice
    choices:
    - {{condition: "$.input[?(1 == 1)]"}}
    - {{condition: "$.input[?(1 == 1)]"}}
    - {{condition: "$.input[?(1 == 1)]", tasks: [{{name: P, category: pass}}]}}
"""


def listed(count: int) -> list[JsonValue]:
    return [*range(count)]


class Owner:
    """Handles events as an owner does, and leaves the rest of each to the test."""

    def __init__(self, text: str, data: JsonObject, **limits: Any) -> None:
        self.plan = Plan(parse_definition(text), "wide")
        limits = {
            "execution_max_tasks": EXECUTION_MAX_TASKS,
            "language": CURRENT,
            "turn_max_bytes": TURN_MAX_BYTES,
            "foreach_in_portions": True,
            **limits,
        }
        event = submission_event(
            "demo:wide_c_00000000-0000-7000-8000-000000000000",
            "wide",
            data=encode_json(data),
            turn_max_steps=TURN_MAX_STEPS,
            **limits,
        )
        self.journal: list[Event] = [event]
        self.state, handled = machine.submit(self.plan, event)
        self.commands: list[Command] = handled.commands

    def take(self, event: Event) -> bool:
        handled = machine.handle(self.plan, self.state, event)
        self.commands += handled.commands
        if handled.changed:
            self.journal.append(event)
        return handled.changed

    def go_on(self) -> None:
        assert self.state.remaining is not None
        self.take(TimerFired(at_ms=1, kind=REMAINING, task="", due_ms=self.state.remaining.due_ms))

    def finish(self) -> int:
        events = 0
        while self.state.remaining is not None:
            self.go_on()
            events += 1
        return events

    def answer_all(self) -> None:
        while True:
            self.finish()
            waiting = [task for task in self.state.tasks.values() if task.in_flight]
            if not waiting:
                return
            for task in waiting:
                self.take(
                    DispatchAnswered(
                        at_ms=1, task=task.name, attempt=task.attempt, body=b"{}", http_status=200
                    )
                )

    def called(self) -> list[tuple[str, str, int]]:
        return [command.key for command in self.commands if isinstance(command, DispatchTask)]

    def statuses(self) -> dict[str, TaskStatus]:
        return {name: task.status for name, task in self.state.tasks.items()}
