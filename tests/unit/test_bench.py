"""The benchmark's command line, its table, and its comparison, on made-up results.

Figures of one run are medians' parts; the yardstick makes machines comparable: what
halves because the machine is half as fast has not changed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rillflow.ids import ID_KEY_BYTES
from rillflow.language.versions import CURRENT
from rillflow.ports.executions import Query
from rillflow.ports.storage.store import ExecutionFilter
from rillflow.runtime.local import LocalExecutions
from rillflow.runtime.process.clock import SystemClock
from rillflow.settings import Settings
from rillflow.stores import open_store
from tests.bench import (
    capacity,
    figures,
    growing,
    growth,
    micro,
    options,
    owning,
    profiling,
    recovery,
    submitting,
    workloads,
)
from tests.bench.figures import YARDSTICK, Figure
from tests.bench.references import apart
from tests.bench.submitting import submitted_event

BARE = Figure(YARDSTICK, "executions/s", 1000.0)


def only_row(figure: Figure, committed: dict[str, Any] | None = None) -> figures.Row:
    [row, _] = figures.rows([figure, BARE], committed or {})
    return row


def committed(figure: Figure, yardstick: float) -> dict[str, Any]:
    found = [figure, BARE._replace(value=yardstick)]
    return figures.document([found], found, {})


def test_everything_runs_three_times_unless_told_otherwise() -> None:
    chosen = options.parse([])

    assert chosen.only == list(options.BENCHMARKS)
    assert chosen.runs == 3
    assert options.parse(["--full"]).runs == 3
    assert options.parse(["--full", "--runs", "5"]).runs == 5
    assert [options.parse(full).seconds for full in ([], ["--full"])] == [2, 8]


def test_some_benchmarks_can_be_chosen_and_keep_their_order() -> None:
    assert options.parse(["--only", "storm", "glue"]).only == ["glue", "storm"]
    assert options.parse(["--only", "storm", "--only", "glue"]).only == ["glue", "storm"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--only", "nothing"], "invalid choice: 'nothing'"),
        (["--runs", "0"], "invalid"),
        (["--seconds", "0"], "--seconds must be more than 0"),
        (["--commit", "--only", "glue"], "leave --only out"),
        (["--commit", "--replicas", "2"], "choose no parts"),
        (["--store", "files"], "invalid choice: 'files'"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        options.parse(arguments)

    assert complaint in capsys.readouterr().err


def test_a_stack_of_more_parts_is_told_by_its_environment() -> None:
    words = ["--store", "postgres", "--execution-actors", "2", "--dispatchers", "3"]

    assert options.environment(options.parse([])) == {}
    assert options.environment(options.parse(words)) == {
        "RILLFLOW_EXECUTION_ACTORS": "2",
        "RILLFLOW_DISPATCHER_ACTORS": "3",
        "RILLFLOW_STORE": "postgres",
    }


def test_the_document_has_the_tables_of_the_capacity_model() -> None:
    text = (Path(__file__).parents[2] / "docs" / "performance.md").read_text(encoding="utf-8")

    assert [table for table in capacity.tables() if table not in text] == []


def test_the_help_names_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options.parse(["--help"])

    shown = capsys.readouterr().out
    assert not [name for name in options.BENCHMARKS if f"  {name} " not in shown]


def test_the_median_is_taken_of_each_figure_apart() -> None:
    runs = [[Figure("a", "ms", a), Figure("b", "ms", b)] for a, b in ((1, 9), (3, 7), (2, 8))]

    assert figures.medians(runs) == [Figure("a", "ms", 2), Figure("b", "ms", 8)]


def test_glue_is_set_beside_the_best_of_the_references() -> None:
    measured = [
        Figure("glue c=16", "executions/s", 300),
        Figure("glue c=16 p50", "ms", 9000),
        Figure("bare c=16", "executions/s", 500),
        BARE,
        Figure("bare with a journal c=16", "executions/s", 400),
    ]

    ratios = figures.with_ratios(measured)[len(measured) :]

    assert [(each.name, each.value) for each in ratios] == [
        ("glue to bare, best c", 0.3),
        ("glue to bare with a journal, best c", 0.75),
    ]


def test_without_references_there_is_no_ratio() -> None:
    alone = [Figure("glue c=16", "executions/s", 300)]

    assert figures.with_ratios(alone) == alone


def test_a_rate_reaches_its_goal_from_above_and_a_time_from_below() -> None:
    assert only_row(Figure("glue c=64", "executions/s", 900)).to_goal == pytest.approx(1.5)
    assert only_row(Figure("glue c=1 p50", "ms", 16)).to_goal == pytest.approx(0.5)
    assert only_row(Figure("parked execution", "KB", 2)).to_goal == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("figure", "holds"),
    [
        (Figure("two nodes to one", "ratio", 0.85), "yes"),
        (Figure("two nodes to one", "ratio", 0.84), "no"),
        (Figure("PostgreSQL to SQLite", "ratio", 0.9), "yes"),
        (Figure("PostgreSQL to SQLite", "ratio", 0.8), "no"),
        (Figure("two dispatchers, CPU of a call", "of one", 1.09), "yes"),
        (Figure("two dispatchers, CPU of a call", "of one", 1.12), "no"),
    ],
)
def test_the_table_says_whether_a_cluster_reaches_its_goals(figure: Figure, holds: str) -> None:
    shown = figures.shown(only_row(figure))

    assert shown.split()[-1] == holds
    assert shown.rindex(holds) + len(holds) == figures.HEADER.index("holds") + len("holds")


def test_a_figure_is_set_beside_its_reference() -> None:
    assert only_row(Figure("glue c=64", "executions/s", 300)).to_reference == pytest.approx(0.3)
    assert only_row(Figure("callback c=64", "executions/s", 300)).to_reference is None


@pytest.mark.parametrize(
    ("unit", "here", "there", "change"),
    [
        ("executions/s", 300, 600, 0.0),
        ("executions/s", 600, 600, 1.0),
        ("ms", 20, 10, 0.0),
        ("ms", 10, 10, 1.0),
        ("CPU-s", 40, 10, -0.5),
        ("KB", 2, 2, 0.0),
        ("ratio", 0.4, 0.2, 1.0),
    ],
)
def test_a_change_is_that_of_the_ratio_to_the_yardstick(
    unit: str, here: float, there: float, change: float
) -> None:
    before = committed(Figure("some figure", unit, there), yardstick=2000.0)

    row = only_row(Figure("some figure", unit, here), before)

    assert row.change == pytest.approx(change)


def test_what_was_not_measured_before_or_otherwise_has_no_change() -> None:
    before = committed(Figure("some figure", "ms", 10), yardstick=1000.0)

    assert only_row(Figure("another figure", "ms", 10), before).change is None
    assert only_row(Figure("some figure", "s", 10), before).change is None
    [alone] = figures.rows([Figure("some figure", "ms", 10)], before)
    assert alone.change is None


def test_the_document_keeps_the_runs_behind_every_median() -> None:
    runs = [[BARE, Figure("glue c=64", "executions/s", value)] for value in (500, 700, 600)]

    found = figures.document(runs, figures.medians(runs), {"cores": 2})

    assert found["machine"] == {"cores": 2}
    assert found["figures"]["glue c=64"] == {
        "unit": "executions/s",
        "value": 600,
        "runs": [500, 700, 600],
        "relative": 0.6,
    }


def test_every_goal_and_reference_belongs_to_a_line_of_the_table() -> None:
    row = figures.Row(Figure("glue c=64", "executions/s", 1234.5), 600, 2.0575, 0.3, -0.04)

    assert figures.shown(row).split() == [
        *("glue", "c=64", "1,234", "executions/s", "600", "2.06", "yes", "0.30", "-4%")
    ]
    assert figures.shown(figures.Row(Figure("a", "ms", 1.5), None, None, None, None)).split() == [
        *("a", "1.50", "ms")
    ]
    assert len(figures.shown(row)) == len(figures.HEADER)


def test_the_exponent_tells_how_the_largest_sizes_grow() -> None:
    sizes = [10.0, 100.0, 1_000.0, 10_000.0]

    assert growth.exponent(sizes, [7, 7, 7, 7]) == pytest.approx(0)
    assert growth.exponent(sizes, [50, 2, 20, 200]) == pytest.approx(1)
    assert growth.exponent(sizes, [s * s for s in sizes]) == pytest.approx(2)


def test_numbered_executions_differ_also_when_there_are_many() -> None:
    numbers = range(0, 3 * submitting.TICKS, 7)
    assert len({submitting.numbered_id("glue", each, 5) for each in numbers}) == len(numbers)
    assert submitting.numbered_id("glue", 0, 5) != submitting.numbered_id(
        "glue", submitting.TICKS, 5
    )


def test_an_execution_goes_on_with_a_step_that_it_had_not_reached() -> None:
    step = recovery.APART
    calls = [
        (step + 3, 1.0),
        (2 * step + 1, 1.5),
        (step + 3, 2.5),
        (step + 4, 3.0),
        (step + 5, 4.0),
    ]

    assert recovery.later_steps(calls, after_s=2.0) == {1: 3.0}
    assert recovery.first_calls(calls) == {1: 1.0, 2: 1.5}


def test_a_sample_belongs_to_the_innermost_module_of_rillflow_or_library() -> None:
    run = "run (asyncio/runners.py:118)"
    ours = "take (/somewhere/rillflow/runtime/owner/execution_owner.py:9)"
    ray = "main (/venv/lib/python3.11/site-packages/ray/_private/worker.py:7)"
    serve = "call (ray/serve/_private/replica.py:7)"
    loads = "loads (/usr/lib/python3.11/json/__init__.py:3)"

    assert profiling.part_of(f"{run};{ours};{loads}") == "rillflow/runtime/owner/execution_owner.py"
    assert profiling.part_of(f"{ours};{run}") == "asyncio"
    assert profiling.part_of(ray) == "Ray"
    assert profiling.part_of(f"{ray};{serve}") == "Ray Serve"
    assert profiling.part_of(f"{serve};submit (serve/routes/hot.py:7)") == "serve/routes/hot.py"
    assert profiling.part_of(loads) == "other"


def test_samples_are_shares_of_the_processor_time_of_a_task() -> None:
    ours = "take (rillflow/runtime/owner/execution_owner.py:9)"
    counts = profiling.summed_up([f"main (a.py:1);{ours} 150", f"{ours} 50", "", "idle (b.py:1) 0"])

    assert counts["rillflow/runtime/owner/execution_owner.py"] == 200
    rows = profiling.table(counts, us_per_task=500.0)
    assert "| rillflow/runtime/owner/execution_owner.py | 100% | 500 |" in rows
    assert rows[-1] == "| all | 100% | 500 |"


def test_what_a_process_spends_is_told_for_a_thousand_tasks() -> None:
    rows = profiling.cpu_table({"haproxy": 1.0, "actor": 3.0, "idle": 0.001}, tasks=2000.0)

    assert rows[2:] == ["| actor | 1.500 |", "| haproxy | 0.500 |", "| all | 2.001 |"]


@pytest.mark.parametrize(
    "measure",
    [
        *(micro.core_events, micro.derived_spans, micro.path_reads, micro.filter_reads),
        micro.evaluations,
    ],
)
def test_single_parts_can_be_measured(measure: Callable[[float], float]) -> None:
    assert measure(0.001) > 0


def test_the_core_is_measured_with_what_a_submission_of_a_service_carries() -> None:
    settings, text = Settings(), workloads.glue("http://127.0.0.1:1")
    event = submitted_event("glue", text, b'{"n":0}')

    assert event.language == CURRENT
    assert (event.turn_max_steps, event.turn_max_bytes) == (
        settings.turn_max_steps,
        settings.turn_max_bytes,
    )
    assert len(event.id_key) == ID_KEY_BYTES


def test_an_owner_can_be_measured() -> None:
    # Apart, since it freezes what the collector knows, as an owner does.
    assert apart(owning.executions, 3, 0.001) > 0


def test_a_dispatcher_can_be_measured() -> None:
    assert micro.dispatcher_requests(2, 0.2) > 0


@pytest.mark.parametrize("stage", ["ended", "waiting"])
async def test_stores_are_filled_with_executions_that_a_host_can_read(
    stage: str, tmp_path: Path
) -> None:
    store = open_store(f"sqlite://{tmp_path}/growth.db")
    await growing.fill(str(tmp_path), 3, stage)
    await store.open()
    executions = LocalExecutions(store=store, gateway=growing.InstantGateway(), clock=SystemClock())
    await executions.start()
    await executions.host.recovered()

    listed = await store.list_executions(ExecutionFilter(), limit=10)
    shown = [
        await executions.call(Query(execution_id=each.execution_id, kind="brief"))
        for each in listed
    ]

    wanted = b'"dag_status":"SUCCEED"' if stage == "ended" else b'"dag_status":"RUNNING"'
    assert [wanted in (reply.body or b"") for reply in shown] == [True] * 3
    await executions.stop()
    await store.close()
