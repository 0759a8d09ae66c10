"""The metrics of all processes as Prometheus text: under our names, and under Rill Flow's.

Each series has the label ``process``: where a process starts anew, only its own series begin again
at 0, so rates over all processes stay right (spec 7.3).

Used by `serve/routes/monitoring/metrics.py`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.registry import Collector

from rillflow.telemetry import metrics
from rillflow.telemetry.meters import LARGEST
from rillflow.telemetry.metrics import METRICS, OTHER, PROCESS_UP, WORKFLOW, Kind, Metric
from rillflow.telemetry.states import Labels, ProcessState

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PROCESS: Final = "process"
LONGEST_REQUEST: Final = "Longest HTTP request of the last minute or two, by path."
APPLICATION: Final = {"application": "rill-flow-web"}
"""The label of Rill Flow's metrics."""
_NO_NAME: Final = re.compile(r"[^a-zA-Z0-9_]")

Row = tuple[str, Labels, list[float]]
"""A process, the values of labels, and numbers."""


def metrics_text(
    states: Sequence[ProcessState], sees: Callable[[str], bool] | None = None
) -> bytes:
    """Return all metrics under the names of Rillflow.

    Args:
        states: What the processes tell.
        sees: Tells of a workflow whether its numbers are shown; metrics of more than one workflow
            are left out then. None shows everything.
    """
    by_name = _rows(states)
    shown = [each for each in METRICS if sees is None or WORKFLOW in each.labels]
    families = [_family(each, _seen(each, by_name.get(each.name, []), sees)) for each in shown]
    return _text([family for family in families if family.samples])


def rill_flow_text(
    states: Sequence[ProcessState],
    sees: Callable[[str], bool] | None = None,
    *,
    is_open: bool,
) -> bytes:
    """Return the metrics under the names of Rill Flow, for its dashboards (spec 7.3).

    Args:
        states: What the processes tell.
        sees: As for ``metrics_text``.
        is_open: Whether the switch ``ENABLE_OPEN_PROMETHEUS`` is on; without it only the requests
            are shown.
    """
    return _text(_rill_flow_families(states, sees, is_open=is_open))


def rill_flow_names(
    states: Sequence[ProcessState],
    sees: Callable[[str], bool] | None = None,
    *,
    is_open: bool,
) -> list[str]:
    """Return the names of what ``rill_flow_text`` shows, each once, in order."""
    families = _rill_flow_families(states, sees, is_open=is_open)
    return sorted({family.name for family in families if family.samples})


def _rill_flow_families(
    states: Sequence[ProcessState], sees: Callable[[str], bool] | None, *, is_open: bool
) -> list[Family]:
    by_name = _rows(states)
    families: list[Family] = []
    if is_open:
        for metric, named in _RILL_FLOW:
            rows = _seen(metric, by_name.get(metric.name, []), sees)
            families += _renamed(metric, rows, named)
            largest = _seen(metric, by_name.get(metric.name + LARGEST, []), sees)
            families += _renamed_largest(metric, largest, named)
    if sees is None:
        requests = metrics.REQUESTS
        families.append(_family(requests, by_name.get(requests.name, [])))
        name = requests.name + LARGEST
        largest_request = Metric(name, Kind.GAUGE, LONGEST_REQUEST, requests.labels)
        families.append(_family(largest_request, by_name.get(name, [])))
    return families


def _rows(states: Sequence[ProcessState]) -> dict[str, list[Row]]:
    by_name: dict[str, list[Row]] = {PROCESS_UP.name: []}
    for state in states:
        by_name[PROCESS_UP.name].append((state.process, (), [float(state.is_reached)]))
        for metric in state.metrics:
            rows = by_name.setdefault(metric.name, [])
            rows += [(state.process, labels, numbers) for labels, numbers in metric.values]
    return by_name


def _seen(metric: Metric, rows: list[Row], sees: Callable[[str], bool] | None) -> list[Row]:
    if sees is None:
        return rows
    place = metric.labels.index(WORKFLOW)
    return [row for row in rows if row[1][place] != OTHER and sees(row[1][place])]


def _family(metric: Metric, rows: Iterable[Row]) -> Family:
    labels = (*metric.labels, PROCESS)
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.meaning, labels=labels)
        for process, values, numbers in rows:
            buckets = _buckets(metric.bounds, numbers[:-1])
            histogram.add_metric((*values, process), buckets, numbers[-1])
        return histogram
    if metric.kind is Kind.SUMMARY:
        summary = SummaryMetricFamily(metric.name, metric.meaning, labels=labels)
        for process, values, (count, total) in rows:
            summary.add_metric((*values, process), int(count), total)
        return summary
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.meaning, labels=labels)
    for process, values, numbers in rows:
        family.add_metric((*values, process), numbers[0])
    return family


def _buckets(bounds: Sequence[float], counts: Sequence[float]) -> list[tuple[str, float]]:
    ends = [*map(str, bounds), "+Inf"]
    return list(zip(ends, accumulate(counts), strict=True))


class _Shown(Collector):
    """What is to be shown, as the library takes it."""

    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Family]:
        """Return it."""
        yield from self._families


def _text(families: Sequence[Family]) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Shown(families))
    return generate_latest(registry)


Named = Callable[[Mapping[str, str]], tuple[str, dict[str, str]] | None]
"""Makes a name of Rill Flow, and labels, of the labels of a series; None leaves the series out."""


def _service(labels: Mapping[str, str]) -> str:
    return _NO_NAME.sub("_", labels[WORKFLOW])


def _cost(labels: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    return f"flow_meter_dag_cost_{_service(labels)}_seconds", {}


def _complete_flow(labels: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    return f"flow_meter_dag_complete_flow_{_service(labels)}_seconds", {}


def _complete_task(labels: Mapping[str, str]) -> tuple[str, dict[str, str]] | None:
    if labels["outcome"] == "skipped":
        return None
    return f"flow_meter_dag_complete_{labels['category']}_{_service(labels)}_seconds", {}


def _run(labels: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    return f"flow_meter_dag_{labels['category']}_{_service(labels)}_seconds", {}


def _rate(status: str) -> Named:
    def named(labels: Mapping[str, str]) -> tuple[str, dict[str, str]] | None:
        if labels.get("status", status) != status:
            return None
        return f"flow_meter_dag_sta_rate_{_service(labels)}_c_{status}", {}

    return named


def _code(labels: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    code = _NO_NAME.sub("_", labels["code"])
    return f"flow_meter_dag_complete_code_{_service(labels)}_{code}", {}


def _sub_flows(labels: Mapping[str, str]) -> tuple[str, dict[str, str]] | None:
    return (
        (f"flow_meter_dag_tiny_dag_{_service(labels)}", {})
        if labels["origin"] == "parent"
        else None
    )


def _endpoint(labels: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    name = f"{_NO_NAME.sub('_', labels['endpoint'])}_{_service(labels)}_seconds"
    return name, {"status": labels["status"]}


def _compliance(labels: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    names = f"{labels['category']}_{_service(labels)}_{_NO_NAME.sub('_', labels['task'])}"
    return f"flow_meter_dag_compliance_{names}_{labels['compliance'].upper()}", {}


def _compliance_percentage(labels: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    names = f"{labels['category']}_{_service(labels)}_{_NO_NAME.sub('_', labels['task'])}"
    return f"flow_meter_dag_compliance_percentage_{names}_seconds", {}


def _named_task(labels: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    task = _NO_NAME.sub("_", labels["task"])
    return f"flow_meter_tenant_task_{_service(labels)}_{task}_{labels['stage']}_seconds", {}


_FAULTS: Final = {metrics.CALLER: "tenant_exception_WARN", metrics.SERVER: "sys_exception_ERROR"}


def _errors(labels: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    return f"flow_meter_dag_{_FAULTS[labels['fault']]}_{_service(labels)}", {}


def _errors_of_kind(labels: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    name, others = _errors(labels)
    return f"{name}_{_NO_NAME.sub('_', labels['error'])}", others


_RILL_FLOW: Final[tuple[tuple[Metric, Named], ...]] = (
    (metrics.ENGINE, _cost),
    (metrics.EXECUTION_DURATION, _complete_flow),
    (metrics.TASK_DURATION, _complete_task),
    (metrics.SUBMISSIONS, _rate("running")),
    (metrics.EXECUTIONS_ENDED, _rate("succeed")),
    (metrics.EXECUTIONS_ENDED, _rate("failed")),
    (metrics.TASK_RUN, _run),
    (metrics.TASK_CODES, _code),
    (metrics.SUBMISSIONS, _sub_flows),
    (metrics.ENDPOINTS, _endpoint),
    (metrics.TASK_COMPLIANCE, _compliance),
    (metrics.TASK_COST, _compliance_percentage),
    (metrics.NAMED_TASKS, _named_task),
    (metrics.ERRORS, _errors),
    (metrics.ERRORS, _errors_of_kind),
)


def _renamed(metric: Metric, rows: Iterable[Row], named: Named) -> list[Family]:
    """Return counters and timers under names of Rill Flow, summed over what it does not tell."""
    sums: dict[str, dict[tuple[tuple[str, str], ...], list[float]]] = {}
    for process, values, numbers in rows:
        renamed = named(dict(zip(metric.labels, values, strict=True)))
        if renamed is None:
            continue
        name, labels = renamed
        key = tuple({**APPLICATION, **labels, PROCESS: process}.items())
        total = sums.setdefault(name, {}).setdefault(key, [0.0, 0.0])
        is_histogram = metric.kind is Kind.HISTOGRAM
        told = [sum(numbers[:-1]), numbers[-1]] if is_histogram else numbers
        for place, number in enumerate(told):
            total[place] += number
    return [_renamed_family(metric, name, series) for name, series in sums.items()]


def _renamed_largest(metric: Metric, rows: Iterable[Row], named: Named) -> list[Family]:
    """Return the largest observations of timers under names of Rill Flow."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for process, values, (number,) in rows:
        renamed = named(dict(zip(metric.labels, values, strict=True)))
        if renamed is not None:
            name, labels = renamed
            key = tuple({**APPLICATION, **labels, PROCESS: process}.items())
            series = found.setdefault(name, {})
            series[key] = max(series.get(key, 0.0), number)
    families: list[Family] = []
    for name, series in found.items():
        labels_of_all = [label for label, _ in next(iter(series))]
        gauge = GaugeMetricFamily(name + LARGEST, metric.meaning, labels=labels_of_all)
        for key, number in series.items():
            gauge.add_metric([value for _, value in key], number)
        families.append(gauge)
    return families


def _renamed_family(
    metric: Metric, name: str, series: Mapping[tuple[tuple[str, str], ...], list[float]]
) -> Family:
    labels = [key for key, _ in next(iter(series))]
    if metric.kind is Kind.COUNTER:
        counter = CounterMetricFamily(name, metric.meaning, labels=labels)
        for key, numbers in series.items():
            counter.add_metric([value for _, value in key], numbers[0])
        return counter
    timer = SummaryMetricFamily(name, metric.meaning, labels=labels)
    for key, numbers in series.items():
        timer.add_metric([value for _, value in key], int(numbers[0]), numbers[1])
    return timer
