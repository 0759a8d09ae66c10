"""The normal form of an outcome: without ids, hosts, and orders that carry no meaning."""

import json
import re
from collections.abc import Iterable
from typing import Final

from tests.corpus.caller import Json

ANY_TEXT: Final = "*"
VOLATILE: Final = ("flow_execution_id", "traceId")
INPUT_IS_SHOWN: Final = ("pass", "return", "switch", "suspense")
WHOLE_UP_TO: Final = 1e15
UUID: Final = "[0-9a-f-]{36}"
PREFIXES: Final = ("dispatchTask http fails due to", "circle found:")
PROMISES: Final = (
    "skip due to dependent tasks return or degrade",
    "loop collection or subTasks empty",
    "choices collection empty",
    "switches collection empty",
    "interruption",
    "timeout",
    "name not match",
    r"dag type is invalid\.",
    r"dag task empty\.",
    r"dag descriptor empty\.",
    "m-.*",
    r"next task .* not exist\.",
    "name invalid:.*",
    "task name duplicated: .*",
    "exceed max depth: .*",
    r".* is invalid\. Because .*",
    "taskName: .* mappingReference: .* invalid",
    "handle functionPattern .*",
    "scheme protocol:.* unsupported",
    "endTask exists.*",
    "cannot find descriptor: .*",
    "dagDescriptorId:.* format error",
)
"""Messages that are part of the interface; of any other only the existence counts."""
_PROMISED: Final = re.compile("|".join(PROMISES), re.DOTALL)


def canonical(value: Json) -> str:
    """Return JSON that is equal for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


class Normal:
    """Brings what one run showed into the form that outcomes are recorded in."""

    def __init__(self, business: str, gateway_url: str, unordered: Iterable[str]) -> None:
        self._business = business
        self._gateway_url = gateway_url
        self._unordered = frozenset(unordered)
        name = re.escape(business)
        self._executions = re.compile(f"{name}(?::|%3A)([A-Za-z0-9]+)_c_{UUID}")

    def text(self, text: str) -> str:
        """Replace ids and addresses by what they stand for."""
        text = text.replace(self._gateway_url, "${GW}")
        text = self._executions.sub(r"${EXEC:\1}", text)
        text = re.sub(r"https?://[^/]*/flow/trigger\.json", "${HOST}/flow/trigger.json", text)
        return text.replace(self._business, "${B}")

    def value(self, value: Json, *, sort: bool = False) -> Json:
        """Normalise JSON; lists without a promised order are sorted, below them too."""
        if isinstance(value, dict):
            return {
                key: self.value(each, sort=sort or key in self._unordered)
                for key, each in value.items()
                if key not in VOLATILE
            }
        if isinstance(value, list):
            each = [self.value(item, sort=sort) for item in value]
            return sorted(each, key=canonical) if sort else each
        if isinstance(value, float) and value.is_integer() and abs(value) < WHOLE_UP_TO:
            return int(value)
        return self.text(value) if isinstance(value, str) else value

    def message(self, message: Json) -> str | None:
        """Keep a message that is promised, and of any other that there is one."""
        if message is None:
            return None
        text = self.text(str(message))
        for prefix in PREFIXES:
            if text.startswith(prefix):
                return f"{prefix} {ANY_TEXT}"
        return text if _PROMISED.fullmatch(text) else ANY_TEXT

    def calls(self, calls: Iterable[tuple[str, Json]]) -> Json:
        """Count the calls of each instance, and list its distinct requests."""
        found: Json = {}
        for name, call in calls:
            entry = found.setdefault(name, {"n": 0, "requests": []})
            entry["n"] += 1
            telling = {k: v for k, v in call.items() if v and (k, v) != ("method", "POST")}
            request = self.value(telling)
            if request not in entry["requests"]:
                entry["requests"].append(request)
        for entry in found.values():
            entry["requests"].sort(key=canonical)
        return found

    def task(self, task: Json) -> Json:
        """Keep of an instance what is compared."""
        invoked = task.get("invoke_msg") or {}
        category = (task.get("task") or {}).get("category")
        attempts = len(invoked.get("invoke_time_infos") or [])
        shows_input = category in INPUT_IS_SHOWN and invoked.get("input")
        identity = task.get("sub_group_index_to_identity")
        kept = {
            "status": task.get("status"),
            "msg": self.message(invoked.get("msg")),
            "code": invoked.get("code"),
            "attempts": attempts if attempts > 1 else None,
            "input": self.value(invoked["input"]) if shows_input else None,
            "groups": _groups(task, category) or None,
            "identity": self.value(identity) if identity else None,
        }
        return {key: value for key, value in kept.items() if value is not None}

    def told(self, invoked: Json) -> Json:
        """Keep of an execution's own message what is compared."""
        kept = {"msg": self.message(invoked.get("msg")), "code": invoked.get("code")}
        return {key: value for key, value in kept.items() if value is not None}


def _groups(task: Json, category: str | None) -> Json:
    """Statuses of groups; the original shows those of a choice as READY while they run."""
    shown = {"READY": "RUNNING"} if category == "choice" else {}
    groups = task.get("sub_group_index_to_status") or {}
    return {str(index): shown.get(status, status) for index, status in groups.items()}
