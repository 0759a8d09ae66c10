"""The metrics: their names, kinds, labels and meanings, in one table.

Processes count by it, `serve/schemas/metric_texts.py` shows by it, and tests compare the alert
rules, the dashboard and the documentation in `deploy` and `docs/telemetry.md` with it. This module
is data only.
"""

from enum import Enum
from typing import Final, NamedTuple


class Kind(Enum):
    """How the values of a metric are read."""

    COUNTER = "counter"
    GAUGE = "gauge"
    SUMMARY = "summary"
    HISTOGRAM = "histogram"


class Metric(NamedTuple):
    """One metric.

    Attributes:
        name: The name in Prometheus, without the ending ``_total`` of a counter.
        kind: How its values are read.
        meaning: One sentence for people; the unit is in the name.
        labels: The names of its labels, besides ``process``.
        bounds: The upper bounds of a histogram's buckets, in ascending order.
    """

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


WORKFLOW: Final = "workflow"
"""The label with ``business:feature``; only metrics with it are of one workspace."""
OTHER: Final = "other"
"""Stands for the names beyond the limit of a label."""
CALLER: Final = "caller"
SERVER: Final = "server"
"""Whose fault an error is."""

_SHORT: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_CALLS: Final = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
_LATE: Final = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0)
_LONG: Final = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 86_400.0)

# Executions, by their owners.
SUBMISSIONS: Final = Metric(
    "rillflow_submissions",
    Kind.COUNTER,
    "Executions that were accepted and are on disk, by who submitted them: client or parent.",
    (WORKFLOW, "origin"),
)
EXECUTIONS_ENDED: Final = Metric(
    "rillflow_executions_ended",
    Kind.COUNTER,
    "Executions that have ended, by their status; a redo may end one again.",
    (WORKFLOW, "status"),
)
EXECUTION_DURATION: Final = Metric(
    "rillflow_execution_duration_seconds",
    Kind.HISTOGRAM,
    "Time from the submission, or the last redo, of executions to their end.",
    (WORKFLOW,),
    _LONG,
)
TASK_DURATION: Final = Metric(
    "rillflow_task_duration_seconds",
    Kind.SUMMARY,
    "Time from the first attempt of tasks to their end, by category and outcome.",
    (WORKFLOW, "category", "outcome"),
)
TASK_RUN: Final = Metric(
    "rillflow_task_run_seconds",
    Kind.SUMMARY,
    "Time that tasks have run, by category: the last call of a function until its answer, of other"
    " tasks what the owner has computed for their last event.",
    (WORKFLOW, "category"),
)
TASK_CODES: Final = Metric(
    "rillflow_task_failure_codes",
    Kind.COUNTER,
    "Tasks that have failed or were skipped with a code.",
    (WORKFLOW, "code"),
)
TASK_COMPLIANCE: Final = Metric(
    "rillflow_task_compliance",
    Kind.COUNTER,
    "Tasks with expected_cost in their input, by whether they took that at most: reached or"
    " not_reached; with a switch of Rill Flow.",
    (WORKFLOW, "category", "task", "compliance"),
)
TASK_COST: Final = Metric(
    "rillflow_task_expected_cost_ratio",
    Kind.SUMMARY,
    "Time that these tasks took, as a share of expected_cost.",
    (WORKFLOW, "category", "task"),
)
NAMED_TASKS: Final = Metric(
    "rillflow_named_task_seconds",
    Kind.SUMMARY,
    "Time of tasks by name: submit is their last call until its answer, complete is all until their"
    " end; with a switch of Rill Flow.",
    (WORKFLOW, "task", "stage"),
)
ENGINE: Final = Metric(
    "rillflow_engine_seconds",
    Kind.SUMMARY,
    "Time that owners have computed for events; a batch is divided evenly among its events.",
    (WORKFLOW,),
)
SUBMIT_TO_DURABLE: Final = Metric(
    "rillflow_submit_to_durable_seconds",
    Kind.HISTOGRAM,
    "Time from the arrival of a submission at its owner until it is on disk.",
    bounds=_SHORT,
)
CALLBACK_TO_CALL: Final = Metric(
    "rillflow_callback_to_call_seconds",
    Kind.HISTOGRAM,
    "Time from the arrival of a callback at its owner until the next calls are sent.",
    bounds=_SHORT,
)
APPEND: Final = Metric(
    "rillflow_append_seconds",
    Kind.HISTOGRAM,
    "Time of an append to the journal, which writes a batch of events.",
    bounds=_SHORT,
)
APPENDED: Final = Metric("rillflow_appended_events", Kind.COUNTER, "Events that are on disk.")
APPEND_FAILURES: Final = Metric(
    "rillflow_append_failures", Kind.COUNTER, "Appends that the store has not accepted."
)
ARCHIVE_FAILURES: Final = Metric(
    "rillflow_archive_failures",
    Kind.COUNTER,
    "Times that retention has stopped since the archive could not be written; nothing is removed"
    " then.",
)
TIMER_LATENESS: Final = Metric(
    "rillflow_timer_lateness_seconds",
    Kind.HISTOGRAM,
    "How long after its due time a timer has fired.",
    bounds=_SHORT,
)
HOT: Final = Metric(
    "rillflow_hot_executions", Kind.GAUGE, "Executions in memory that have not ended."
)
TIMERS: Final = Metric("rillflow_timers", Kind.GAUGE, "Timers that are set.")
UNANSWERED: Final = Metric(
    "rillflow_unanswered_calls", Kind.GAUGE, "Calls that dispatchers have not answered."
)
HELD: Final = Metric(
    "rillflow_held_dispatches",
    Kind.GAUGE,
    "Calls that wait since their function asked for a pause.",
)
SPANS: Final = Metric(
    "rillflow_spans",
    Kind.COUNTER,
    "Spans of traced executions that have ended: exported, dropped (the queue is full) or failed"
    " (the collector has not taken them).",
    ("outcome",),
)
QUEUED: Final = Metric(
    "rillflow_queued_submissions", Kind.GAUGE, "Submissions that are not on disk yet."
)

# Calls, by dispatchers.
ATTEMPTS: Final = Metric(
    "rillflow_attempts",
    Kind.COUNTER,
    "Calls of functions that have ended, by host and outcome: success or failure.",
    ("host", "outcome"),
)
CALL_DURATION: Final = Metric(
    "rillflow_call_duration_seconds",
    Kind.HISTOGRAM,
    "Time of calls with their wait for a turn.",
    ("host",),
    _CALLS,
)
GATEWAY_CALLS: Final = Metric(
    "rillflow_gateway_calls",
    Kind.GAUGE,
    "Calls by host and state: under_way, waiting for a turn, held by a circuit.",
    ("host", "state"),
)
OPEN_CIRCUITS: Final = Metric(
    "rillflow_open_circuits",
    Kind.GAUGE,
    "Circuits of a host and its functions that are not closed.",
    ("host",),
)
DISPATCHER_CALLS: Final = Metric(
    "rillflow_dispatcher_calls", Kind.GAUGE, "Calls in a dispatcher whose answers are not durable."
)

# Requests, by replicas.
REQUESTS: Final = Metric(
    "http_server_requests_seconds",
    Kind.SUMMARY,
    "Time of HTTP requests with their waits, by path of the table of routes.",
    ("uri", "method", "status"),
)
REQUEST_LATENCY: Final = Metric(
    "rillflow_request_latency_seconds",
    Kind.HISTOGRAM,
    "Time of requests of submit, finish and trigger without a wait.",
    ("uri",),
    _SHORT,
)
ENDPOINTS: Final = Metric(
    "rillflow_endpoint_seconds",
    Kind.SUMMARY,
    "Time of requests of the steps of workflows, by endpoint and SUCCESS or FAIL.",
    (WORKFLOW, "endpoint", "status"),
)
ERRORS: Final = Metric(
    "rillflow_errors",
    Kind.COUNTER,
    "Refusals and failures, by whose fault it is, caller or server, and by the kind of error.",
    (WORKFLOW, "fault", "error"),
)
STORE_BYTES: Final = Metric("rillflow_store_bytes", Kind.GAUGE, "Size of the store.")
WORKSPACE_STORE_BYTES: Final = Metric(
    "rillflow_workspace_store_bytes",
    Kind.GAUGE,
    "Bytes of executions in the store, by workspace that has a quota of them.",
    ("workspace",),
)
RESTARTS: Final = Metric(
    "rillflow_actor_restarts",
    Kind.COUNTER,
    "Processes of actors that have ended unexpectedly, since the controller began.",
    ("actor",),
)
FENCINGS: Final = Metric(
    "rillflow_actor_fencings",
    Kind.COUNTER,
    "Processes of actors that ended because another owner had their partitions, since the"
    " controller began.",
    ("actor",),
)
SILENT_ACTORS: Final = Metric(
    "rillflow_silent_actors", Kind.GAUGE, "Actors that should run and do not answer."
)
READY: Final = Metric("rillflow_ready", Kind.GAUGE, "1 where /readyz says ready, else 0.")
MEMORY_USED: Final = Metric(
    "rillflow_machine_memory_used_ratio", Kind.GAUGE, "Share of the machine's memory in use."
)

# Triggers, by the owners of their partitions.
TRIGGER_EVENTS: Final = Metric(
    "rillflow_trigger_events",
    Kind.COUNTER,
    "Times and events of triggers, by type and what became of them: started, skipped, refused, or"
    " delayed, once for each try.",
    ("type", "outcome"),
)
TRIGGER_LATENESS: Final = Metric(
    "rillflow_trigger_lateness_seconds",
    Kind.HISTOGRAM,
    "How long after it was due the execution of a time of a cron trigger was on disk.",
    bounds=_LATE,
)
TRIGGER_SOURCES: Final = Metric(
    "rillflow_trigger_sources",
    Kind.GAUGE,
    "Sources of triggers that are read, by type and state: connecting, connected or failed.",
    ("type", "state"),
)
TRIGGER_LAG: Final = Metric(
    "rillflow_trigger_lag_events",
    Kind.GAUGE,
    "Events that wait in the sources of triggers, as far as these know, by type.",
    ("type",),
)

# Every process.
PROCESS_UP: Final = Metric(
    "rillflow_process_up", Kind.GAUGE, "1 for a process that has answered this scrape, else 0."
)
CPU: Final = Metric("rillflow_process_cpu_seconds", Kind.COUNTER, "Processor time of a process.")
RESIDENT: Final = Metric(
    "rillflow_process_resident_bytes", Kind.GAUGE, "Memory of a process in RAM, shared pages too."
)
LONGEST_TURN: Final = Metric(
    "rillflow_loop_longest_turn_seconds",
    Kind.GAUGE,
    "Longest turn of the event loop in the last minute.",
)
SLOW_TURNS: Final = Metric(
    "rillflow_loop_slow_turns", Kind.COUNTER, "Turns of the event loop that took 50 ms or more."
)

METRICS: Final = (
    *(
        SUBMISSIONS,
        EXECUTIONS_ENDED,
        EXECUTION_DURATION,
        TASK_DURATION,
        TASK_RUN,
        TASK_CODES,
        TASK_COMPLIANCE,
        TASK_COST,
        NAMED_TASKS,
        ENGINE,
    ),
    *(SUBMIT_TO_DURABLE, CALLBACK_TO_CALL, APPEND, APPENDED, APPEND_FAILURES, TIMER_LATENESS),
    ARCHIVE_FAILURES,
    *(HOT, TIMERS, UNANSWERED, HELD, QUEUED, SPANS),
    *(ATTEMPTS, CALL_DURATION, GATEWAY_CALLS, OPEN_CIRCUITS, DISPATCHER_CALLS),
    *(REQUESTS, REQUEST_LATENCY, ENDPOINTS, ERRORS),
    *(STORE_BYTES, WORKSPACE_STORE_BYTES, RESTARTS, FENCINGS, SILENT_ACTORS, READY, MEMORY_USED),
    *(TRIGGER_EVENTS, TRIGGER_LATENESS, TRIGGER_SOURCES, TRIGGER_LAG),
    *(PROCESS_UP, CPU, RESIDENT, LONGEST_TURN, SLOW_TURNS),
)
"""All metrics, in the order in which they are shown."""
