"""What a list says of an execution besides its status: what it waits for, why it failed."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rillflow.client.instances import Instance, read_instance

MOST_NAMED: Final = 3
WAITS: Final = {
    "suspense": "a wake-up",
    "task_async": "its callback",
    "task_scheduler": "its callback",
    "task_sync": "its function",
    "flow_sync": "its sub-flow",
    "flow_async": "its sub-flow",
}


def detail_of(view: Mapping[str, Any]) -> str:
    """Say in one line what a running execution waits for, or why one failed."""
    tasks = view.get("tasks")
    shown = tasks if isinstance(tasks, dict) else {}
    instances = [read_instance(name, task) for name, task in shown.items()]
    if view.get("quarantine"):
        return f"stuck: {_line(view['quarantine'])}"
    if view.get("dag_status") == "FAILED":
        return _failure(view, instances)
    if view.get("dag_status") not in ("RUNNING", "KEY_SUCCEED"):
        return ""
    waits = list(_waits(instances))
    more = f" and {len(waits) - MOST_NAMED} more" if len(waits) > MOST_NAMED else ""
    paused = "paused; " if view.get("paused") else ""
    return paused + (f"waits for {', '.join(waits[:MOST_NAMED])}{more}" if waits else "")


def _failure(view: Mapping[str, Any], instances: list[Instance]) -> str:
    invoke = view.get("dag_invoke_msg")
    message = invoke.get("msg") if isinstance(invoke, dict) else None
    failed = [one.name for one in instances if one.status == "FAILED"]
    where = f"{failed[0]}: " if failed else ""
    return f"{where}{_line(message)}" if message is not None else where.rstrip(": ")


def _waits(instances: list[Instance]) -> Iterator[str]:
    for one in instances:
        if one.status == "RUNNING" and one.groups:
            through = sum(one.groups.get(status, 0) for status in ("SUCCEED", "FAILED", "SKIPPED"))
            yield f"{one.name} ({through} of {sum(one.groups.values())} groups through)"
        elif one.status in ("RUNNING", "KEY_SUCCEED"):
            yield f"{one.name} ({WAITS.get(one.pattern or one.category, one.category)})"
        elif one.status == "READY":
            yield f"{one.name} (the time of its next attempt)"


def _line(text: object) -> str:
    return " ".join(str(text).split())
