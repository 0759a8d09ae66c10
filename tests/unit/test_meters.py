"""A process counts cheaply, keeps a bounded number of series, and its counters only grow."""

import pytest

from rillflow.runtime.dispatch.measuring import host_of
from rillflow.runtime.process.replica_metrics import KEPT_S, MOST_REPLICAS, ReplicaMetrics
from rillflow.telemetry import metrics
from rillflow.telemetry.meters import LARGEST, MOST_WORKFLOWS, WINDOW_S, BoundedNames, Meters
from rillflow.telemetry.metrics import METRICS, OTHER, Kind
from rillflow.telemetry.states import ProcessState, decode_states, encode_states
from tests.api.serving import MovableClock
from tests.metrics_page import PAGE, page


def test_a_metric_has_one_row_and_tells_its_unit() -> None:
    assert len({each.name for each in METRICS}) == len(METRICS)
    for each in METRICS:
        assert each.meaning.endswith("."), each.name
        assert bool(each.bounds) == (each.kind is Kind.HISTOGRAM), each.name
        assert list(each.bounds) == sorted(each.bounds)
        timed = each.kind in (Kind.SUMMARY, Kind.HISTOGRAM)
        assert each.name.endswith(("_seconds", "_ratio")) or not timed, each.name
        assert not each.name.endswith("_total"), "the ending is added"


def test_the_first_names_are_counted_apart_for_ever_and_all_others_together() -> None:
    names = BoundedNames(4)
    assert [names.shown(each, "w") for each in ("a", "b", "c", "a", "d", "b")] == [
        *("a", "b", OTHER, "a", OTHER, "b")
    ]
    assert (names.known("a"), names.known("e")) == ("a", OTHER)
    assert names.shown("x" * 1000, "v") == OTHER


def test_a_workspace_with_many_names_leaves_a_half_to_those_that_come_later() -> None:
    names = BoundedNames(16)
    for workspace, most in (("a", 8), ("b", 4), ("c", 2), ("d", 1), ("e", 1)):
        shown = [names.shown(f"{workspace}:{number}", workspace) for number in range(20)]
        assert len(set(shown) - {OTHER}) == most, workspace
    assert names.shown("f:0", "f") == OTHER, "as many as may be are there"
    assert names.shown("a:0", "f") == "a:0", "what is counted apart is so for all"


def test_ten_thousand_workflows_are_two_hundred_series() -> None:
    meters = Meters("p")
    counter = meters.counter(metrics.SUBMISSIONS)
    for number in range(10_000):
        counter.add((meters.workflows.shown(f"b:f{number}", "b"), "client"))
    [state] = meters.state().metrics
    assert len(state.values) == MOST_WORKFLOWS // 2 + 1
    assert sum(value for _, [value] in state.values) == 10_000


def test_a_name_that_is_no_text_keeps_no_metric_from_being_sent() -> None:
    meters = Meters("p")
    meters.counter(metrics.TASK_CODES).add(("b:f", BoundedNames(5).shown('\ud800\n"', "b")))
    [state] = decode_states(encode_states([meters.state()]))
    assert state.metrics[0].values == [(("b:f", '?\n"'), [1])]


def test_a_histogram_counts_each_value_in_one_bucket_and_keeps_the_sum() -> None:
    meters = Meters("p")
    histogram = meters.histogram(metrics.APPEND)
    for value in (0.0001, 0.0005, 0.003, 9.0):
        histogram.observe(value)
    [(labels, numbers)] = histogram.state()
    assert labels == ()
    assert numbers[:4] == [2, 0, 0, 1]
    assert numbers[-2:] == [1, pytest.approx(9.0036)]
    assert len(numbers) == len(metrics.APPEND.bounds) + 2


def test_the_largest_observation_is_that_of_the_last_minute_or_two() -> None:
    at_s = [0.0]
    meters = Meters("p", lambda: at_s[0])
    summary, histogram = meters.summary(metrics.ENGINE), meters.histogram(metrics.APPEND)

    def largest() -> dict[str, list[float]]:
        found = (each for each in meters.state().metrics if each.name.endswith(LARGEST))
        return {each.name: [value for _, [value] in each.values] for each in found}

    for value in (0.5, 3.0, 1.0):
        summary.observe(("shop:order",), value)
        histogram.observe(value)
    assert largest() == {"rillflow_engine_seconds_max": [3.0], "rillflow_append_seconds_max": [3.0]}
    at_s[0] = WINDOW_S
    assert largest()["rillflow_engine_seconds_max"] == [3.0]
    summary.observe(("shop:order",), 2.0)
    at_s[0] = 2 * WINDOW_S
    assert largest()["rillflow_engine_seconds_max"] == [3.0]
    assert largest()["rillflow_engine_seconds_max"] == [2.0]
    assert summary.state() == [(("shop:order",), [4, 6.5])]


def test_a_counter_without_labels_begins_at_0_so_that_the_first_one_is_a_rise() -> None:
    assert Meters("p").counter(metrics.APPEND_FAILURES).state() == [((), [0])]


def test_a_metric_of_another_kind_is_a_mistake_of_the_program() -> None:
    with pytest.raises(TypeError, match="rillflow_append_seconds is a histogram, not a counter"):
        Meters("p").counter(metrics.APPEND)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("http://Shop.example:8080/function/x?token=s", "http://shop.example:8080"),
        ("https://user:pass@h/x", "https://h"),
        ("http://[::1]:80/x", "http://[::1]:80"),
        ("ray://module.function", "ray://"),
        ("chatgpt://secret-model", "chatgpt://"),
        ("http://${secret:HOST}/x", "http://"),
        ("nothing", OTHER),
        ("", OTHER),
    ],
)
def test_a_call_is_counted_by_its_host_and_no_secret_of_its_address_is_told(
    address: str, host: str
) -> None:
    assert host_of(address) == host


def test_an_owner_keeps_what_replicas_tell_until_they_have_ended() -> None:
    clock = MovableClock()
    kept = ReplicaMetrics(clock)
    kept.keep(ProcessState("replica:1"))
    clock.advance(KEPT_S - 1)
    kept.keep(ProcessState("replica:2"))
    kept.keep(ProcessState("replica:2", []))
    assert [each.process for each in kept.states()] == ["replica:1", "replica:2"]
    clock.advance(2)
    assert [each.process for each in kept.states()] == ["replica:2"]
    for number in range(2 * MOST_REPLICAS):
        kept.keep(ProcessState(f"replica:{number}"))
    assert len(kept.states()) == MOST_REPLICAS


def test_the_page_shows_the_table_of_metrics() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(text), "run: python -m tests.metrics_page"
