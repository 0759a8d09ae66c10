"""The metrics of a running stack: every process of it is in them, and each counts its part."""

from prometheus_client.parser import text_string_to_metric_families

from tests.cluster.api import Api


def test_all_processes_are_joined(api: Api) -> None:
    shown = api.http.get("/metrics")
    families = {each.name: each for each in text_string_to_metric_families(shown.text)}
    up = {each.labels["process"]: each.value for each in families["rillflow_process_up"].samples}
    kinds = {name.split(":")[1] for name in up if name.startswith("rillflow:")}
    assert kinds == {"execution", "dispatcher"}
    assert any(name.startswith("replica:") for name in up)
    assert set(up.values()) == {1}
    told = {each.labels["process"] for each in families["rillflow_process_cpu_seconds"].samples}
    assert told == up.keys() - {"stack"}
    [silent] = families["rillflow_silent_actors"].samples
    assert silent.value == 0
    [size] = families["rillflow_store_bytes"].samples
    assert size.value > 0
