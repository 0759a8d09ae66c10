"""The reasons why rules and conditions gave nothing, as codes with values.

The language says its reasons in English, and executions keep them like that. A page in another
language makes its own sentence of the code and the values that are found in them here. What is
found nowhere here, such as a message of a function, has the code ``other``.

Used by `core/inspection`.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from rillflow.core.state import RuleWarning
from rillflow.jsontypes import JsonObject, JsonValue

OTHER: Final = "other"
_OF_SOURCE: Final = "; of its source: "
_MEANT: Final = re.compile(r"(?P<reason>.*); did you mean `(?P<meant>[^`]*)`\?", re.DOTALL)
SENTENCES: Final = {
    "missing": "`{place}` does not exist",
    "missing_element": "`{place}` does not exist: the list has {count} element{s}",
    "missing_below": "`{place}` does not exist: `{way}` is {kind}",
    "gives_null": "`{place}` gives null",
    "is_null": "`{place}` is null",
    "no_source": "the rule has neither source nor transform",
    "no_target": "the rule has no target",
    "task_places": "of a task there is only $.tasks.<name>.trigger_url",
    "transform_nil": "the transform gave nil",
    "no_place": "the target leads to no place in this document",
    "no_dollar": "`{place}` leads to no place, since it lacks `$.`: {names} write to {kept}",
    "not_kept": "`{place}` does not last: {names} write to {kept}",
    "root": "$.{root} as a whole cannot be replaced; what was written there is gone",
    "literal_path": "a text that looks like a path is copied as it is written",
    "path_inside": (
        "a path inside a text is not replaced by its value; a transform can put values together"
    ),
    "no_output": "the output is empty, so no rule is applied",
    "nothing_to_filter": "there is nothing that the filter could look at",
}
"""What `language/mapping` and `core/turn.py` say, by code."""
_KINDS: Final = ("a text", "a map", "a list", "a number", "a boolean", "null")
_VALUES: Final = {"count": "[0-9]+", "s": "s?", "kind": "|".join(_KINDS)}


def _pattern(sentence: str) -> re.Pattern[str]:
    text = re.sub(
        r"\\{(\w+)\\}",
        lambda name: f"(?P<{name[1]}>{_VALUES.get(name[1], '[^`]*')})",
        re.escape(sentence),
    )
    return re.compile(text, re.DOTALL)


_PATTERNS: Final = {code: _pattern(sentence) for code, sentence in SENTENCES.items()}


def explained_warnings(warnings: Sequence[RuleWarning]) -> list[JsonValue]:
    """Return mapping warnings as they are shown, each with its ``reasons``, too."""
    return [
        {
            "mappings": warning.field,
            "number": warning.number,
            "rule": warning.rule,
            "kind": warning.kind,
            "reason": warning.reason,
            "reasons": reasons_in(warning.reason),
        }
        for warning in warnings
    ]


def reasons_in(text: str) -> list[JsonValue]:
    """Return the reasons that a sentence has, each as ``code`` and ``values``.

    The last may be ``did_you_mean``, with what was probably ``meant``.
    """
    found = _MEANT.fullmatch(text)
    reasons: list[JsonValue] = list(_each(found["reason"] if found else text))
    if found:
        reasons.append({"code": "did_you_mean", "values": {"meant": found["meant"]}})
    return reasons


def _each(text: str) -> Iterator[JsonObject]:
    rule, is_parted, source = text.partition(_OF_SOURCE)
    yield _reason(rule)
    if is_parted:
        yield _reason(source)


def _reason(text: str) -> JsonObject:
    for code, pattern in _PATTERNS.items():
        found = pattern.fullmatch(text)
        if found:
            values = {name: value for name, value in found.groupdict().items() if name != "s"}
            return {"code": code, "values": dict(values)}
    return {"code": OTHER, "values": {"text": text}}
