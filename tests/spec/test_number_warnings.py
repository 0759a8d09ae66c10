"""A number or an address that will not count as its author hopes is told, with what comes of it."""

import pytest

from rillflow.definition.problems import find_problems
from tests.spec.definition_texts import FUNCTION, HEADER, PASS
from tests.spec.test_problems import only_warning, warnings_in

LIMITED = "category: foreach, iterationMapping: {collection: $.input.c, item: i}"
DIGITS = "write digits, such as 10, or a path such as $.input.patience"


@pytest.mark.parametrize(
    ("task", "message", "hint"),
    [
        (
            f"{FUNCTION}, timeline: {{timeoutInSeconds: @ten}}",
            (
                "timeoutInSeconds `ten` is not a whole number of seconds above 0:"
                " the task gets no time-out of its own"
            ),
            DIGITS,
        ),
        (
            f"{FUNCTION}, timeline: {{timeoutInSeconds: @10 min}}",
            (
                "timeoutInSeconds `10 min` is not a whole number of seconds above 0:"
                " the task gets no time-out of its own"
            ),
            "did you mean `600`?",
        ),
        (
            f"{FUNCTION}, timeline: {{suspenseIntervalSeconds: @5s}}",
            (
                "suspenseIntervalSeconds `5s` is not a whole number of seconds:"
                " the task starts without a delay"
            ),
            "did you mean `5`?",
        ),
        (
            f"{FUNCTION}, timeline: {{suspenseTimestamp: @2026-01-01}}",
            (
                "suspenseTimestamp `2026-01-01` is not a time in milliseconds since 1970:"
                " the task starts without a delay"
            ),
            "write digits, such as 1767225600000, or a path such as $.input.start_ms",
        ),
        (
            (
                f"{LIMITED}, tasks: [{{name: B, category: pass}}],"
                " synchronization: {conditions: [$.input.c], maxConcurrency: @two}"
            ),
            "maxConcurrency `two` is not a whole number above 0: all iterations run at once",
            "write digits, such as 2, or a path such as $.input.at_once",
        ),
        (
            "category: suspense, conditions: [], timeline: {skipOnTimeout: @yes}",
            "skipOnTimeout `yes` is not true, so a time-out skips nothing",
            "write true or false",
        ),
        (
            f"{FUNCTION}, retry: {{maxRetryTimes: @-1}}",
            "maxRetryTimes -1 has no meaning: 0 counts, nothing is repeated",
            "",
        ),
        (
            f"{FUNCTION}, retry: {{multiplier: @0}}",
            "multiplier 0.0 has no meaning: 1 counts, all waits are the same",
            "",
        ),
        (
            f"{FUNCTION}, polling: {{intervalInSeconds: @-1}}",
            "intervalInSeconds -1 has no meaning: another interval counts",
            "",
        ),
    ],
)
def test_a_number_that_does_not_count_is_a_warning_with_its_place(
    task: str, message: str, hint: str
) -> None:
    text = f"tasks:\n- {{name: A, {task}}}\n"
    problem = only_warning(text.replace("@", ""))

    assert (problem.message, problem.hint) == (message, hint)
    assert (problem.line, problem.column) == (5, text.splitlines()[1].index("@") + 1)


@pytest.mark.parametrize("text", ["ten", "0", "-5", "1.5", "true", "{", "9999999999999999"])
def test_a_time_out_that_is_none_is_told_for_the_whole_flow(text: str) -> None:
    problem = only_warning(f"timer: {{timeoutInSeconds: '{text}'}}\n{PASS}")

    assert problem.message.endswith("above 0: the execution gets no time-out of its own")
    assert problem.hint == DIGITS.replace("input", "context")
    assert (problem.line, problem.column) == (4, 27)


@pytest.mark.parametrize(
    "task",
    [
        f"{FUNCTION}, timeline: {{timeoutInSeconds: $.input.limit}}",
        f"{FUNCTION}, timeline: {{timeoutInSeconds: ' 10 '}}",
        f"{FUNCTION}, timeline: {{timeoutInSeconds: 1e2}}",
        f"{FUNCTION}, timeline: {{timeoutInSeconds: ''}}",
        f"{FUNCTION}, timeline: {{suspenseIntervalSeconds: 0}}",
        f"{FUNCTION}, retry: {{maxRetryTimes: 0, intervalInSeconds: 0, jitter: 1}}",
        "category: suspense, conditions: [], timeline: {skipOnTimeout: TRUE}",
        "category: pass, timeline: {timeoutInSeconds: ten}",
    ],
)
def test_a_number_that_counts_and_one_that_nobody_reads_are_not_suspicious(task: str) -> None:
    assert warnings_in(f"tasks:\n- {{name: A, {task}}}\n") == []


def test_text_where_a_number_must_be_is_an_error_with_its_place() -> None:
    (problem,) = find_problems(
        f"{HEADER}tasks:\n- {{name: A, {FUNCTION}, retry: {{intervalInSeconds: ten}}}}\n"
    )

    assert problem.message == "intervalInSeconds must be a whole number of 32 bits, not `ten`"
    assert (problem.severity, problem.line) == ("error", 5)


@pytest.mark.parametrize(
    ("address", "message", "hint"),
    [
        ("rilflow://a:b", "no protocol `rilflow` is built in", "did you mean `rillflow`?"),
        ("HTTP://h/x", "no protocol `HTTP` is built in", "did you mean `http`?"),
        ("h:8081/x", "`h:8081/x` has no protocol", "as in http://host/path"),
    ],
)
def test_an_address_that_nobody_is_likely_to_serve_is_a_warning(
    address: str, message: str, hint: str
) -> None:
    function = FUNCTION.replace("http://gateway/a", address)
    problem = only_warning(f"tasks:\n- {{name: A, {function}}}\n")

    assert message in problem.message
    assert problem.hint.endswith(hint)
    assert (problem.code, problem.line, problem.column) == (30410, 5, 67)


@pytest.mark.parametrize(
    "more",
    [
        "resourceName: 'chatgpt://x'",
        "resourceName: 'warehouse://stock'",
        "resourceName: 'http://h/x', resourceProtocol: warehouse",
        "resourceName: '${secret:HOST}/x'",
        "resourceName: h/x, resourceProtocol: https",
        "resourceName: rillflow, resource: {name: r, category: c}",
    ],
)
def test_an_address_that_somebody_may_serve_is_not_suspicious(more: str) -> None:
    task = f"tasks:\n- {{name: A, category: function, pattern: task_sync, {more}}}\n"
    assert warnings_in(task) == []
