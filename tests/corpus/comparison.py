"""Where an outcome differs from the recorded one."""

import json
import re
from typing import Final

from tests.corpus.caller import Json
from tests.corpus.normal import ANY_TEXT, canonical

SHOWN: Final = 90


def differences(case: Json, outcome: Json) -> list[str]:
    """List the places where an outcome is not the recorded one, empty when it is.

    Left alone is what the record cannot promise: how often the original called a
    function that failed on HTTP itself, or a member of a racy group, and which one of
    several failed groups is quoted.
    """
    wanted, got = json.loads(canonical(case["expect"])), json.loads(canonical(outcome))
    for name, entry in got.get("calls", {}).items():
        recorded = wanted.get("calls", {}).get(name)
        if recorded is not None and _may_differ(case, name, entry["n"], recorded["n"]):
            entry["n"] = recorded["n"]
    for each in (wanted, got):
        _forget_which_group(each)
    return [place.lstrip(".") for place in _compare(wanted, got, "")]


def _may_differ(case: Json, name: str, calls: int, recorded: int) -> bool:
    function = re.split("[-_]", name)[-1]
    if function in case.get("http_fail", []) and calls == recorded / 2:
        return True
    return bool(case.get("racy_calls")) and "_" in name and calls >= 1


def _forget_which_group(outcome: Json) -> None:
    for task in outcome.get("tasks", {}).values():
        if list(task.get("groups", {}).values()).count("FAILED") > 1:
            task.pop("msg", None)
            task.pop("code", None)
    for child in outcome.get("children", {}).values():
        _forget_which_group(child)


def _compare(wanted: Json, got: Json, path: str) -> list[str]:
    if isinstance(wanted, dict) and isinstance(got, dict):
        return [
            place
            for key in sorted(wanted.keys() | got.keys())
            for place in _compare_key(wanted, got, key, f"{path}.{key}")
        ]
    if isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        pairs = enumerate(zip(wanted, got, strict=True))
        return [place for n, pair in pairs for place in _compare(*pair, f"{path}[{n}]")]
    any_text = wanted == ANY_TEXT and path.endswith(".msg") and isinstance(got, str)
    if any_text or canonical(wanted) == canonical(got):
        return []
    return [f"{path}: wanted {_short(wanted)}, got {_short(got)}"]


def _compare_key(wanted: Json, got: Json, key: str, path: str) -> list[str]:
    if key in wanted and key in got:
        return _compare(wanted[key], got[key], path)
    only = wanted[key] if key in wanted else got[key]
    if key == "msg" and only == ANY_TEXT:
        return []  # saying something where the other says nothing does no harm
    return [f"{path}: {'missing' if key in wanted else 'unexpected'} {_short(only)}"]


def _short(value: Json) -> str:
    text = canonical(value)
    return text if len(text) < SHOWN else text[: SHOWN - 3] + "..."
