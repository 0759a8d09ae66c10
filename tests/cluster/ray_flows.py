"""Workflows of one task that calls Ray, whose input is the context and whose output goes there."""

import yaml

from tests.cluster.api import Api, Json


def calling(resource: str, given: Json, **more: Json) -> str:
    """Return the definition of a task that gives these keys of the context to a function."""
    task = {
        "name": "call",
        "category": "function",
        "pattern": "task_sync",
        "resourceName": resource,
        "inputMappings": [
            {"source": f"$.context.{key}", "target": f"$.input.{key}"} for key in given
        ],
        "outputMappings": [{"source": "$.output", "target": "$.context.output"}],
        **more,
    }
    flow = {"workspace": "ray", "dagName": "called", "type": "flow", "tasks": [task]}
    return yaml.safe_dump(flow, width=1000)


def fan_out(function: str, **task: Json) -> str:
    """Return the definition of a foreach over ``numbers`` that calls a function in batches."""
    call = {
        "name": "one",
        "category": "function",
        "pattern": "task_sync",
        "resourceName": f"ray://ray_functions:{function}",
        "inputMappings": [
            {"source": f"$.context.{key}", "target": f"$.input.{key}"}
            for key in ("number", "file", "fails")
        ],
        "outputMappings": [{"source": "$.output.number", "target": "$.context.done"}],
        **task,
    }
    each = {
        "name": "each",
        "category": "foreach",
        "inputMappings": [
            {"source": f"$.context.{key}", "target": f"$.input.{key}"}
            for key in ("numbers", "file", "fails")
        ],
        "iterationMapping": {"collection": "$.input.numbers", "item": "number"},
        "outputMappings": [{"source": "$.output.sub_context[*].done", "target": "$.context.done"}],
        "tasks": [call],
    }
    flow = {"workspace": "ray", "dagName": "batches", "type": "flow", "tasks": [each]}
    return yaml.safe_dump(flow, width=1000)


def calls_at(api: Api, host: str) -> tuple[int, int]:
    """Return how many calls of a host are under way, and how many wait."""
    dispatchers = api.ask("GET", "/flow/gateways.json").body["dispatchers"]
    found = [each for one in dispatchers for each in one["hosts"] if each["host"] == host]
    return sum(each["under_way"] for each in found), sum(each["waiting"] for each in found)
