"""The metrics of a running stack: every process of it is in them, and each counts its part."""

import time

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.api import LOOK_S, WAIT_S, Api


def test_all_processes_are_joined(api: Api) -> None:
    give_up = time.monotonic() + WAIT_S
    while not all((up := _processes(families := _families(api))).values()):
        assert time.monotonic() < give_up, up
        time.sleep(LOOK_S)
    kinds = {name.split(":")[1] for name in up if name.startswith("rillflow:")}
    assert kinds == {"execution", "dispatcher"}
    assert any(name.startswith("replica:") for name in up)
    told = {each.labels["process"] for each in families["rillflow_process_cpu_seconds"].samples}
    assert told == up.keys() - {"stack"}
    [silent] = families["rillflow_silent_actors"].samples
    assert silent.value == 0
    [size] = families["rillflow_store_bytes"].samples
    assert size.value > 0


def _families(api: Api) -> dict[str, Metric]:
    """Return the metrics; a process that is too busy to answer is not up this time."""
    shown = api.http.get("/metrics")
    return {each.name: each for each in text_string_to_metric_families(shown.text)}


def _processes(families: dict[str, Metric]) -> dict[str, float]:
    """Tell which processes are up."""
    samples = families["rillflow_process_up"].samples
    return {each.labels["process"]: each.value for each in samples}
