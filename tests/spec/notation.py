"""The short notation of the conformance cases, as definitions.

Rules in mappings are written ``x`` (the same name on both sides), ``a<=b`` (from b) or
``a:=text`` (a literal), separated by commas; anything longer is written out as a list.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import pytest
from pydantic.alias_generators import to_camel

from rillflow.errors import RillflowError
from rillflow.testing import Scenario

Json: TypeAlias = Any
"""JSON, without the narrowness of JsonValue about lists and maps of one kind."""

Definition: TypeAlias = dict[str, Json]
"""A task, a definition or a part of one, with Rill Flow's keys."""

PATTERNS: Final = {
    "sync": "task_sync",
    "async": "task_async",
    "flow_sync": "flow_sync",
    "flow_async": "flow_async",
}


def scenario(*tasks: Definition, **rest: Json) -> Scenario:
    """Make a scenario that proves the replay law with every step."""
    return Scenario(flow(*tasks, **rest), check=True)


def flow(*tasks: Definition, **rest: Json) -> Definition:
    """Write a definition with a valid header."""
    header: Definition = {"workspace": "demo", "dagName": "scenario", "type": "flow"}
    return {**header, "tasks": list(tasks), **_spelt(rest)}


def fn(name: str, kind: str = "async", **rest: Json) -> Definition:
    """Write a function task: ``async``, ``sync``, ``flow_sync`` or ``flow_async``."""
    return _task(
        name, "function", pattern=PATTERNS[kind], resource_name=f"http://gateway/{name}", **rest
    )


def pass_(name: str, **rest: Json) -> Definition:
    """Write a pass task."""
    return _task(name, "pass", **rest)


def ret(name: str, *conditions: str, **rest: Json) -> Definition:
    """Write a return task."""
    return _task(name, "return", conditions=list(conditions), **rest)


def susp(name: str, *conditions: str, **rest: Json) -> Definition:
    """Write a suspense task."""
    return _task(name, "suspense", conditions=list(conditions), **rest)


def sw(name: str, *entries: tuple[str, str], **rest: Json) -> Definition:
    """Write a switch task with entries of condition and next; ``!`` at the end breaks."""
    switches: list[Json] = [
        {"condition": condition, "next": names.rstrip("!"), "break": names.endswith("!")}
        for condition, names in entries
    ]
    return _task(name, "switch", switches=switches, **rest)


def each(
    name: str, collection: str, *tasks: Definition, index: str = "", **rest: Json
) -> Definition:
    """Write a foreach over ``$.input.<collection>``; its element is called ``item``."""
    mapping: Definition = {"collection": f"$.input.{collection}", "item": "item"}
    if index:
        mapping["index"] = index
    mapping.update({str(k): rest.pop(k) for k in ("item", "identity") if k in rest})
    return _task(name, "foreach", iteration_mapping=mapping, tasks=list(tasks), **rest)


def choice(name: str, *branches: tuple[str, Sequence[Definition]], **rest: Json) -> Definition:
    """Write a choice with branches of condition and tasks."""
    choices: list[Json] = [
        {"condition": condition, "tasks": list(tasks)} for condition, tasks in branches
    ]
    return _task(name, "choice", choices=choices, **rest)


def at_most(limit: Json, condition: str = "$.input") -> Definition:
    """Write a limit on the groups that run at once."""
    return {"conditions": [condition], "maxConcurrency": limit}


def on_input(test: str) -> str:
    """Write a condition on the input: ``I[test]`` of the cases."""
    return f"$.input.[?(@.{test})]"


def on_output(test: str) -> str:
    """Write a condition on the output: ``O[test]`` of the cases."""
    return f"$.output[?(@.{test})]"


def within(seconds: Json, **rest: Json) -> Definition:
    """Write a timeline with a time-out."""
    return {"timeoutInSeconds": seconds, **_spelt(rest)}


def refused(error: pytest.ExceptionInfo[RillflowError]) -> tuple[int, str]:
    """Give code and message of a refusal."""
    return error.value.wire_code, str(error.value)


def _task(name: str, category: str, **rest: Json) -> Definition:
    to, ins, outs = rest.pop("to", None), rest.pop("ins", None), rest.pop("outs", None)
    task: Definition = {"name": name, "category": category, **_spelt(rest)}
    if to is not None:
        task["next"] = to
    if ins is not None:
        task["inputMappings"] = _rules(ins, "$.context", "$.input")
    if outs is not None:
        task["outputMappings"] = _rules(outs, "$.output", "$.context")
    return task


def _rules(rules: Json, source: str, target: str) -> Json:
    if not isinstance(rules, str):
        return rules
    return [_rule(text.strip(), source, target) for text in rules.split(",")]


def _rule(text: str, source: str, target: str) -> Definition:
    if ":=" in text:
        name, _, literal = text.partition(":=")
        return {"source": literal, "target": f"{target}.{name}"}
    name, _, origin = text.partition("<=")
    return {"source": f"{source}.{origin or name}", "target": f"{target}.{name}"}


def _spelt(fields: dict[str, Json]) -> Definition:
    return {to_camel(key): value for key, value in fields.items()}
