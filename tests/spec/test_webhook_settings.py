"""The settings of a webhook are refused with the field that is wrong; what is stored is shown."""

from typing import Any, Final

import pytest

from rillflow.definition import parse_definition
from rillflow.errors import CronError, DefinitionError
from rillflow.triggers.signatures import SignatureKind
from rillflow.triggers.webhooks import (
    LONGEST_NAME,
    MOST_PATHS,
    check_name,
    checked_webhook,
    context_of,
    id_of_name,
    path_of,
    webhook_of,
)
from tests.api.definition_texts import PASS

GITHUB: Final = {"signature": "github", "secret": "${secret:HOOK}"}
HMAC: Final = {"signature": "hmac", "secret": "${secret:HOOK}", "header": "X-Sign"}
TOKEN: Final = HMAC | {"signature": "token"}
NONE: Final = {"signature": "none"}


@pytest.mark.parametrize("given", [GITHUB, HMAC, TOKEN, NONE])
def test_defaults_are_left_out_of_what_is_stored(given: dict[str, Any]) -> None:
    stored = checked_webhook(dict(given))
    assert stored == {**given, **({"header": "x-sign"} if "header" in given else {})}
    assert checked_webhook(stored) == stored
    assert webhook_of(stored).scheme is SignatureKind(given["signature"])


@pytest.mark.parametrize(
    ("given", "field", "reason"),
    [
        ({}, "signature", "none lets everybody start executions"),
        ({"signature": "gitlab"}, "signature", "is one of github"),
        ({"signature": ["github"]}, "signature", "is one of github"),
        ({"signature": {}}, "signature", "is one of github"),
        ({"signature": "github"}, "secret", "must be a reference"),
        (GITHUB | {"secret": "the secret itself"}, "secret", "must be a reference"),
        (GITHUB | {"secret": "x${secret:HOOK}"}, "secret", "must be a reference"),
        (GITHUB | {"secret": "${secret:../HOOK}"}, "secret", "must be a reference"),
        (NONE | {"secret": "${secret:HOOK}"}, "secret", "counts with a signature only"),
        (GITHUB | {"header": "X-Sign"}, "header", "is for hmac and token"),
        (TOKEN | {"algorithm": "sha256"}, "algorithm", "is for hmac, not for token"),
        (HMAC | {"header": None}, "header", "header is missing"),
        (HMAC | {"header": "X Sign"}, "header", "the name of a header"),
        (HMAC | {"header": "X-Sign\r\nX"}, "header", "the name of a header"),
        (HMAC | {"header": "x" * 101}, "header", "the name of a header"),
        (HMAC | {"algorithm": "md5"}, "algorithm", "is one of sha256"),
        (HMAC | {"algorithm": "__class__"}, "algorithm", "is one of sha256"),
        (HMAC | {"encoding": "base32"}, "encoding", "is one of hex"),
        (HMAC | {"prefix": "x" * 41}, "prefix", "up to 40 characters"),
        (HMAC | {"prefix": "a\nb"}, "prefix", "up to 40 characters"),
        (GITHUB | {"replay_window_s": 0}, "replay_window_s", "from 1 to 3600"),
        (GITHUB | {"replay_window_s": 3_601}, "replay_window_s", "from 1 to 3600"),
        (GITHUB | {"replay_window_s": True}, "replay_window_s", "from 1 to 3600"),
        (GITHUB | {"replay_window_s": 1.5}, "replay_window_s", "from 1 to 3600"),
        (GITHUB | {"max_body_bytes": 0}, "max_body_bytes", "from 1 to"),
        (GITHUB | {"wait_s": 61}, "wait_s", "from 0 to 60"),
        (GITHUB | {"wait_s": "10"}, "wait_s", "from 0 to 60"),
        (GITHUB | {"mapping": {}}, "mapping", f"1 to {MOST_PATHS} fields"),
        (GITHUB | {"mapping": ["$.body"]}, "mapping", f"1 to {MOST_PATHS} fields"),
        (
            GITHUB | {"mapping": {f"a{number}": "$.body" for number in range(MOST_PATHS + 1)}},
            "mapping",
            f"1 to {MOST_PATHS} fields",
        ),
        (GITHUB | {"mapping": {"a": "body.user"}}, "mapping", "needs paths"),
        (GITHUB | {"mapping": {"a": 5}}, "mapping", "needs paths"),
        (GITHUB | {"mapping": {"a": "$.body[?("}}, "mapping", "is no path"),
        (
            GITHUB | {"mapping": {f"a{n}": f"$.body[?(@.a =~ /{n}/)]" for n in range(11)}},
            "mapping",
            "11 regular expressions",
        ),
        (GITHUB | {"mapping": {"a": "$." + "x" * 1_000}}, "mapping", "needs paths"),
        (GITHUB | {"secrets": "${secret:HOOK}"}, "secrets", "has no field 'secrets'"),
    ],
)
def test_what_is_wrong_is_told_with_its_field(
    given: dict[str, Any], field: str, reason: str
) -> None:
    with pytest.raises(CronError) as refused:
        checked_webhook(given)
    assert reason in str(refused.value)
    assert refused.value.field == f"webhook.{field}"
    assert "the secret itself" not in str(refused.value)


def test_a_name_that_is_added_is_never_one_that_a_definition_declares() -> None:
    for name in ("push", "a.b-c_d", "1", "x" * LONGEST_NAME, "shop:push"):
        check_name(name)
        assert id_of_name(name) == name
        assert path_of(name) == f"/flow/hooks/{name}"
    for wrong in (
        "",
        "shop:order:release:first",
        "a:b:c",
        "a/b",
        "-a",
        "a b",
        "x" * 101,
        "é",
        "a\n",
    ):
        with pytest.raises(CronError, match="its name in the address"):
            check_name(wrong)
    declared = "shop:order:release/first"
    assert path_of(declared) == "/flow/hooks/shop:order:release:first"
    assert id_of_name("shop:order:release:first") == declared
    for nobody in (
        "",
        "shop:order:first",
        "a:b:c:d:e",
        "a:b:c/d",
        "a:b::d",
        "a:b:c:d\n",
        "é:b:c:d",
    ):
        assert id_of_name(nobody) is None


def test_a_body_is_laid_over_the_context_and_what_is_no_map_is_its_field_body() -> None:
    webhook = webhook_of(checked_webhook(dict(NONE)))

    def context(body: Any) -> Any:
        return context_of(webhook, {"headers": {}, "query": {}, "body": body}, {"a": 1, "b": 1})

    assert context({"b": 2}) == {"a": 1, "b": 2}
    assert context(None) == {"a": 1, "b": 1}
    assert context([1]) == {"a": 1, "b": 1, "body": [1]}
    assert context("x") == {"a": 1, "b": 1, "body": "x"}


@pytest.mark.parametrize(
    ("webhook", "message", "column"),
    [
        ("{signature: gitlab}", "signature is one of", 39),
        ("{signature: github}", "secret must be a reference", 27),
        ("{signature: none, waitInSeconds: 61}", "wait_s is a whole number", 60),
        ("{signature: none, mapping: {a: x}}", "mapping needs paths", 54),
        ("{signature: none, colour: red}", "there is no option `colour`", 45),
        ("{signature: none}, cron: '@daily'", "a trigger has one of", 27),
    ],
)
def test_what_is_wrong_in_a_definition_is_told_with_its_place(
    webhook: str, message: str, column: int
) -> None:
    text = f"{PASS}triggers:\n  - {{name: push, webhook: {webhook}}}\n"
    with pytest.raises(DefinitionError) as refused:
        parse_definition(text)
    [problem] = refused.value.problems
    assert message in problem.message
    assert (problem.line, problem.column) == (text.count("\n"), column)
