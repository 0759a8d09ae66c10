"""`rillflow trace` draws a trace as a waterfall, in any terminal, of whatever a server answers."""

import io
import json
from typing import Any, Final

import pytest
from rich.cells import cell_len

from rillflow.cli.output.console import VisibleConsole
from rillflow.cli.output.showing import moment
from rillflow.cli.output.waterfall import MOST_ROWS, show_trace
from rillflow.core.inspection.history.traces import trace
from rillflow.testing import Scenario
from tests.spec.notation import each, flow, fn
from tests.unit.commands import run, stand_in

TRACE: Final = "flow__console__v1__trace.json"
RETRY: Final = {"maxRetryTimes": 1, "intervalInSeconds": 3, "multiplier": 1}
DRAWN: Final = f"""\
demo:scenario_c_00000000-0000-7000-8000-000000000000
failed after 9.0 s, begun {moment(0)}

                                0                   5 s
demo:scenario            9.0 s  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━
├ fetch                  5.0 s  ━━━━━━━━━━━━━━━━━━━━
│ ├ attempt 1            1.0 s  ────
│ │ http status 503
│ ├ wait: retry          3.0 s      ┄┄┄┄┄┄┄┄┄┄┄┄
│ └ attempt 2            1.0 s                  ────
└ each                   4.0 s                      ━━━━━━━━━━━━━━━━
  ├ cut [0]              1.0 s                      ━━━━
  └ cut [1]              4.0 s                      ━━━━━━━━━━━━━━━━
    │ disk is full
    └ wait: callback     4.0 s                      ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄
"""


def failing() -> Scenario:
    scenario = Scenario(
        flow(
            fn("fetch", "sync", retry=RETRY, to="each"),
            each("each", "list", fn("cut"), ins="list"),
        )
    )
    scenario.submit({"list": [1, 2]})
    scenario.now_ms += 1_000
    scenario.answer("fetch", error="http status 503")
    scenario.advance(3)
    scenario.now_ms += 1_000
    scenario.answer("fetch", {"ok": 1})
    scenario.answer("each_1-cut", {"ok": 1})
    scenario.now_ms += 1_000
    scenario.finish("each_0-cut", {"ok": 1}, early=True)
    scenario.answer("each_0-cut", {"ok": 1})
    scenario.now_ms += 3_000
    scenario.finish("each_1-cut", {}, succeeded=False, msg="disk is full")
    return scenario


def drawn(shown: Any, width: int, *, terminal: bool = False, encoding: str = "utf-8") -> str:
    bytes_out = io.BytesIO()
    file = io.TextIOWrapper(bytes_out, encoding=encoding)
    console = VisibleConsole(
        file=file, width=width, force_terminal=terminal, highlight=False, markup=False
    )
    show_trace(console, shown)
    file.flush()
    return bytes_out.getvalue().decode(encoding)


def traced(scenario: Scenario) -> Any:
    return trace(scenario.plan, scenario.state, scenario.now_ms)


@pytest.mark.parametrize(
    ("number", "told"), [(1, ""), (2, ", redone once"), (3, ", redone 2 times")]
)
def test_the_heading_tells_how_often_the_execution_was_redone(number: int, told: str) -> None:
    heading = drawn({**traced(failing()), "round": number}, 80).splitlines()[1]
    assert heading == f"failed after 9.0 s, begun {moment(0)}{told}"


def test_each_span_has_a_bar_where_it_lasted() -> None:
    assert drawn(traced(failing()), 68) == DRAWN


@pytest.mark.parametrize("width", [24, 30, 50, 60, 80, 200])
def test_no_line_is_longer_than_the_terminal_is_wide(width: int) -> None:
    lines = drawn(traced(failing()), width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) >= len(DRAWN.splitlines()) - 1
    assert ("━" in "".join(lines)) == (width >= 50)


def test_there_is_colour_in_a_terminal_only() -> None:
    assert "\x1b[" in drawn(traced(failing()), 80, terminal=True)
    assert "\x1b" not in drawn(traced(failing()), 80)


def test_an_ascii_terminal_gets_ascii() -> None:
    text = drawn(traced(failing()), 80, encoding="ascii")
    assert "|- fetch" in text
    assert "====" in text


def test_names_of_strangers_draw_nothing_else() -> None:
    shown = traced(failing())
    for span in shown["spans"]:
        span["name"] = "\x1b[31m\u202e\n界" * 40
        span["error"] = "\x1b]0;title\x07\nno"
        span["status"] = "[bold]\x1b"
    text = drawn(shown, 60)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert max(map(cell_len, text.splitlines())) <= 60


def test_a_server_may_answer_circles_and_times_in_any_order() -> None:
    shown = traced(failing())
    for span in shown["spans"][1:]:
        span["parent"] = span["id"]
    shown["spans"][1]["from_ms"], shown["spans"][1]["to_ms"] = 9_000_000_000_000, 0
    assert drawn(shown, 80)
    assert drawn({**shown, "spans": []}, 80) == ""


def test_a_long_trace_is_cut_and_says_so() -> None:
    shown = traced(failing())
    first = shown["spans"][0]
    many = [{**first, "id": str(n), "parent": first["id"]} for n in range(MOST_ROWS + 7)]
    text = drawn({**shown, "spans": [first, *many], "tasks_left_out": 5}, 80)
    assert text.endswith("... more spans: 8; all with --json\n... 5 more tasks have no spans\n")


def test_the_command_draws_what_the_server_answers_or_prints_it_as_json() -> None:
    scenario = failing()
    shown = traced(scenario)
    execution_id = scenario.state.execution_id
    with stand_in(**{TRACE: shown}) as (url, asked):
        code, out, _ = run("trace", execution_id, "--url", url)
        assert (code, "├ fetch" in out) == (0, True)
        assert asked[0]["query"] == {"execution_id": execution_id}
        code, out, _ = run("trace", execution_id, "--json", "--url", url)
        assert (code, json.loads(out)) == (0, shown)


def test_an_answer_that_is_no_trace_is_told() -> None:
    with stand_in(**{TRACE: {"spans": [{"id": 7}]}}) as (url, _):
        code, out, err = run("trace", "b:f_c_01890a5d-ac96-774b-bcce-b302099a8057", "--url", url)
    assert (code, out) == (1, "")
    assert "answer" in err
