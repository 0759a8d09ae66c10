"""What a group of appends costs SQLite."""

import sqlite3

from rillflow.stores.append_plan import AppendPlan, ExecutionRow, Outcome
from rillflow.stores.sqlite.rows import write_plan
from rillflow.stores.sqlite.schema import MIGRATIONS

LARGE = 2_000
SMALL = 200


def steps_of(connection: sqlite3.Connection, ends: int) -> int:
    """Write the outcomes of so many executions, and count in hundreds of SQLite's steps."""
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    plan = AppendPlan(epochs={}, places={}, keys=iter(()))
    plan.outcomes.update({key: Outcome("SUCCEED", None, key) for key in range(1, ends + 1)})
    connection.set_progress_handler(step, 100)
    write_plan(connection, plan)
    connection.set_progress_handler(None, 100)
    return steps


def test_outcomes_cost_the_same_in_small_and_large_groups() -> None:
    connection = sqlite3.connect(":memory:")
    for statement in (each for migration in MIGRATIONS for each in migration):
        connection.execute(statement)
    numbers = range(1, LARGE + 1)
    new = [
        ExecutionRow(
            *(key, f"b:f_c_{key}", "b", "f", 0, "d", 0, False),
            *(None, None, None, "RUNNING", None, None, False),
        )
        for key in numbers
    ]
    plan = AppendPlan(epochs={}, places={}, keys=iter(()))
    plan.executions.extend(new)
    write_plan(connection, plan)
    small, large = steps_of(connection, SMALL), steps_of(connection, LARGE)
    assert large < 2 * small * LARGE / SMALL
    ends = connection.execute("SELECT count(*) FROM executions WHERE finished_at_ms = key")
    assert ends.fetchall() == [(LARGE,)]
    connection.close()
