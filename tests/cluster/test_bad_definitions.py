"""A definition that is wrong is refused with its reason, and no listing changes."""

import re
from typing import Final

import pytest

from tests.cluster.api import ADD, Api, Json

pytestmark = pytest.mark.cluster

HEADER: Final = "workspace: badinput\ndagName: refused\ntype: flow\n"
PASS: Final = "tasks:\n  - { name: a, category: pass }\n"
BOMB: Final = "bomb0: &bomb0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"bomb{n}: &bomb{n} [{', '.join([f'*bomb{n - 1}'] * 9)}]\n" for n in range(1, 9)
)

REFUSED: Final = {
    "broken yaml": (HEADER + "tasks: [\n  a: b: c", r"line 5, column 7|line 4"),
    "a tab": (HEADER + "tasks:\n\t- a", r"line 5, column 1"),
    "duplicate key": (HEADER + "version: 1\nversion: 2\n" + PASS, r"version.*line 5, column 1"),
    "alias bomb": (HEADER + BOMB + PASS, r"alias|large|nodes|budget"),
    "blank": ("  \n", r"."),
    "not a map": ("- a\n", r"."),
    "no type": (HEADER.replace("type: flow", "") + PASS, r"^dag type is invalid\."),
    "no tasks": (HEADER, r"^dag task empty\."),
    "no category": (HEADER + "tasks:\n  - { name: a }\n", r"category"),
    "unknown category": (HEADER + "tasks:\n  - { name: a, category: pas }\n", r"pas"),
    "no pattern": (
        HEADER + "tasks:\n  - { name: a, category: function, resourceName: http://x }\n",
        r"^function task a is invalid\. Because pattern can not be null\.",
    ),
    "no resource": (
        HEADER + "tasks:\n  - { name: a, category: function, pattern: task_sync }\n",
        r"^function task a is invalid\. Because resourceName or resource can not be empty\.",
    ),
    "no choices": (
        HEADER + "tasks:\n  - { name: a, category: choice }\n",
        r"^choice task a is invalid\. Because choices is empty\.",
    ),
    "unknown next": (
        HEADER + "tasks:\n  - { name: a, category: pass, next: b }\n",
        r"^next task b not exist\.",
    ),
    "duplicate name": (
        HEADER + "tasks:\n  - { name: a, category: pass }\n  - { name: a, category: pass }\n",
        r"^task name duplicated: a",
    ),
    "malformed name": (
        HEADER + "tasks:\n  - { name: a-b, category: pass }\n",
        r"^name invalid:a-b",
    ),
    "cycle": (
        HEADER
        + "tasks:\n  - { name: a, category: pass, next: b }\n"
        + "  - { name: b, category: pass, next: a }\n",
        r"^circle found: a->b->a",
    ),
    "unknown reference": (
        HEADER + "tasks:\n  - { name: a, category: pass, inputMappings: [{ reference: r }] }\n",
        r"^taskName: a mappingReference: r invalid",
    ),
    "other business": (HEADER.replace("badinput", "elsewhere") + PASS, r"^name not match$"),
    "other feature": (HEADER.replace("refused", "accepted") + PASS, r"^name not match$"),
    "too large": (HEADER + "# " + "x" * 645_121 + "\n" + PASS, r"^dag info length:\d+ exceed"),
}


def _listings(api: Api) -> Json:
    business = {"business_id": "badinput"}
    prefix = "/flow/bg/manage/descriptor"
    return (
        api.ask("GET", f"{prefix}/get_business.json").body,
        api.ask("GET", f"{prefix}/get_feature.json", **business).body,
        api.ask("GET", f"{prefix}/get_alias.json", feature_name="refused", **business).body,
        api.ask(
            "GET", f"{prefix}/get_version.json", feature_name="refused", alias="release", **business
        ).body,
    )


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.case("E2E-19")
def test_a_definition_that_is_wrong_is_refused_and_changes_no_listing(
    api: Api, text: str, message: str
) -> None:
    before = _listings(api)
    query = {"business_id": "badinput", "feature_name": "refused", "alias": "release"}
    answer = api.ask("POST", ADD, body=text, **query)
    assert (answer.status, answer.body["error_code"]) == (400, 30110)
    assert answer.body["pass_through"] is True
    assert re.search(message, answer.body["error"])
    assert _listings(api) == before


def test_an_unknown_field_is_named_by_the_validator_and_does_no_harm(api: Api) -> None:
    text = HEADER.replace("refused", "tolerated") + "owner: me\n" + PASS
    assert api.run(text).status == "SUCCEED"
    problems = api.ask("POST", "/flow/validate.json", body=text).body["problems"]
    [problem] = problems
    assert (problem["severity"], problem["line"], problem["column"]) == ("warning", 4, 1)
    assert "owner" in problem["message"]
