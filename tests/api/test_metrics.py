"""/metrics joins what all processes count, and tells it by Rill Flow's names too (spec 7.3).

Shows also that the alert rules and the dashboard of `deploy` ask for nothing else.
"""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from rillflow.telemetry.metrics import METRICS, Kind
from tests.api.definition_texts import PASS, SUSPENDED, calling
from tests.api.serving import Api, served

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
ENDINGS: Final = {
    Kind.COUNTER: ("_total",),
    Kind.GAUGE: ("",),
    Kind.SUMMARY: ("_count", "_sum"),
    Kind.HISTOGRAM: ("_bucket", "_count", "_sum"),
}
OWNER: Final = "rillflow:execution:0"


async def samples(api: Api, path: str = "/metrics", **headers: str) -> list[Sample]:
    response = await api.client.get(path, headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = text_string_to_metric_families(response.text)
    return [sample for family in families for sample in family.samples]


def total(found: list[Sample], name: str, **labels: str) -> float:
    """Return the sum of all series of a name that have these labels."""
    return sum(
        sample.value
        for sample in found
        if sample.name == name and labels.items() <= sample.labels.items()
    )


async def test_executions_tasks_calls_and_requests_are_counted() -> None:
    functions: dict[str, Any] = {"well": lambda _: {"a": 1}, "ill": lambda _: (500, "broken", {})}
    async with served(functions) as api:
        for name in functions:
            await api.run(calling(name, name=name))
        await api.run(PASS)
        await api.refusal("/flow/submit.json", descriptor_id="shop:nothing")
        found = await samples(api)
    ended = "rillflow_executions_ended_total"
    assert total(found, "rillflow_submissions_total", workflow="shop:well", origin="client") == 1
    assert total(found, ended, workflow="shop:well", status="succeed") == 1
    assert total(found, ended, workflow="shop:ill", status="failed") == 1
    assert total(found, "rillflow_execution_duration_seconds_count", workflow="shop:ill") == 1
    tasks = "rillflow_task_duration_seconds_count"
    assert total(found, tasks, workflow="shop:ill", category="function", outcome="failed") == 1
    assert total(found, tasks, workflow="shop:order", category="pass", outcome="succeeded") == 1
    assert total(found, "rillflow_attempts_total", outcome="success", host=api.gateway.url) == 1
    assert total(found, "rillflow_attempts_total", outcome="failure", host=api.gateway.url) == 1
    assert total(found, "rillflow_call_duration_seconds_count", host=api.gateway.url) == 2
    assert total(found, "rillflow_submit_to_durable_seconds_count", process=OWNER) == 3
    assert total(found, "rillflow_appended_events_total", process=OWNER) >= 5
    assert total(found, "rillflow_engine_seconds_sum", workflow="shop:well") > 0
    requests = "http_server_requests_seconds_count"
    assert total(found, requests, uri="/flow/submit.json", status="200") == 3
    assert total(found, requests, uri="/flow/submit.json", status="400") == 1
    endpoints = "rillflow_endpoint_seconds_count"
    assert total(found, endpoints, workflow="shop:well", endpoint="submit.json") == 1
    assert total(found, endpoints, workflow="other", endpoint="submit.json", status="FAIL") == 1
    assert total(found, "rillflow_ready") == 1


async def test_a_callback_and_a_timer_are_measured() -> None:
    chain = SUSPENDED.replace("category: suspense\n", "category: suspense\n    next: call\n", 1)
    chain += """
  - name: call
    category: function
    resourceName: ${GW}/function/work
    pattern: task_sync
  - name: late
    category: suspense
    conditions: ['$.input.[?(@.go == true)]']
    timeline: {timeoutInSeconds: 1}
"""
    async with served({"work": lambda _: {"a": 1}}) as api:
        execution_id = await api.submit(await api.add(chain))
        await api.post(
            "/flow/trigger.json", {"go": True}, execution_id=execution_id, task_name="wait"
        )
        assert (await api.ended(execution_id))["dag_status"] == "FAILED"
        found = await samples(api)
    assert total(found, "rillflow_callback_to_call_seconds_count") == 1
    assert total(found, "rillflow_timer_lateness_seconds_count") >= 1
    assert total(found, "rillflow_timer_lateness_seconds_bucket", le="5.0") >= 1


async def test_processes_are_told_apart_and_gauges_are_read_when_they_are_asked_for() -> None:
    async with served() as api:
        waiting = await api.submit(await api.add(SUSPENDED))
        found = await samples(api)
        assert total(found, "rillflow_hot_executions", process=OWNER) == 1
        await api.post("/flow/cancel.json", execution_id=waiting)
        again = await samples(api)
        assert total(again, "rillflow_hot_executions", process=OWNER) == 0
        up = {each.labels["process"] for each in found if each.name == "rillflow_process_up"}
        assert {OWNER, "stack"} < up
        assert total(found, "rillflow_process_cpu_seconds_total") > 0
        assert total(found, "rillflow_process_resident_bytes") > 1 << 20


async def test_made_up_names_make_no_series() -> None:
    async with served() as api:
        for number in range(20):
            await api.client.get(f"/made/up/{number}")
            await api.client.request(f"M{number}", "/flow/get.json")
            await api.client.get("/flow/get.json", params={"execution_id": f"a:b{number}_c_1"})
            query = {"execution_id": f"a:c{number}_c_1", "task_name": "A"}
            await api.client.post("/flow/trigger.json", params=query)
            await api.client.get(f"/console/files/{number}")
        found = await samples(api)
    texts = {value for each in found for key, value in each.labels.items() if key != "process"}
    assert not {text for text in texts if "made" in text or text.startswith(("a:", "M1"))}
    assert {text for text in texts if "/console/files" in text} == {"/console/files/..."}


async def test_rill_flows_names_are_told_with_its_label() -> None:
    async with served({"work": lambda _: (400, {"error_code": "E-7"}, {})}) as api:
        await api.run(calling("work"))
        found = await samples(api, "/actuator/prometheus")
    assert total(found, "flow_meter_dag_sta_rate_shop_order_c_running_total") == 1
    assert total(found, "flow_meter_dag_sta_rate_shop_order_c_failed_total") == 1
    assert total(found, "flow_meter_dag_complete_flow_shop_order_seconds_count") == 1
    assert total(found, "flow_meter_dag_complete_function_shop_order_seconds_count") == 1
    assert total(found, "flow_meter_dag_cost_shop_order_seconds_sum") > 0
    assert total(found, "flow_meter_dag_function_shop_order_seconds_count") == 1
    assert total(found, "flow_meter_dag_cost_shop_order_seconds_max") > 0
    names = {sample.name for sample in found}
    assert {name.removesuffix("_count") for name in names if name.endswith("seconds_count")} == {
        name.removesuffix("_max") for name in names if name.endswith("seconds_max")
    }
    assert total(found, "submit_json_shop_order_seconds_count", status="SUCCESS") == 1
    own = {sample.labels["application"] for sample in found if "shop_order" in sample.name}
    assert own == {"rill-flow-web"}
    assert total(found, "http_server_requests_seconds_count", uri="/flow/submit.json") == 1


async def test_refusals_are_counted_by_kind_for_workflows_that_exist() -> None:
    async with served() as api:
        await api.run(PASS)
        for feature in ("order:nothing", "unknown"):
            await api.refusal("/flow/submit.json", descriptor_id=f"shop:{feature}")
        await api.refusal("/flow/cancel.json")
        found = await samples(api)
        named = await samples(api, "/actuator/prometheus")
    errors, kind = "rillflow_errors_total", "UnknownDescriptorError"
    assert total(found, errors, workflow="shop:order", fault="caller", error=kind) == 1
    assert total(found, errors, workflow="other", fault="caller", error=kind) == 1
    assert total(found, errors) == 3
    name = "flow_meter_dag_tenant_exception_WARN_shop_order"
    assert total(named, f"{name}_total") == total(named, f"{name}_{kind}_total") == 1


COSTLY: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: quick
    category: pass
    next: slow
    inputMappings: [{source: 1000, target: $.input.expected_cost}]
  - name: slow
    category: function
    pattern: task_sync
    resourceName: ${GW}/function/slow
    next: odd
    inputMappings: [{source: 1000, target: $.input.expected_cost}]
  - name: odd
    category: pass
    inputMappings: [{source: $.context.cost, target: $.input.expected_cost}]
"""


async def test_tasks_are_measured_by_name_only_where_a_switch_says_so() -> None:
    apis: list[Api] = []

    def slow(_: object) -> dict[str, int]:
        apis[-1].clock.advance(5)
        return {"a": 1}

    async def measured(**switches: bool) -> list[Sample]:
        async with served({"slow": slow}, switches=switches) as api:
            apis.append(api)
            for cost in (10**400, -1, 0, "x", 1.5):
                assert (await api.run(COSTLY, {"cost": cost}))["dag_status"] == "SUCCEED"
            return await samples(api, "/actuator/prometheus")

    neither = {sample.name for sample in await measured()}
    assert not {name for name in neither if "compliance" in name or "tenant_task" in name}
    found = await measured(ENABLE_RECORD_COMPLIANCE_WHEN_TASK_FINISHED=True)
    name = "flow_meter_dag_compliance"
    assert total(found, f"{name}_pass_shop_order_quick_REACHED_total") == 5
    assert total(found, f"{name}_function_shop_order_slow_NOT_REACHED_total") == 5
    assert total(found, f"{name}_percentage_pass_shop_order_quick_seconds_count") == 5
    assert not {sample.name for sample in found if "_odd_" in sample.name}
    assert total(found, f"{name}_percentage_function_shop_order_slow_seconds_sum") >= 25
    found = await measured(ENABLE_TENANT_TASK_FLOW_AGGREGATE=True)
    name = "flow_meter_tenant_task_shop_order"
    assert total(found, f"{name}_slow_submit_seconds_sum") >= 25
    assert total(found, f"{name}_slow_complete_seconds_count") == 5
    assert total(found, f"{name}_quick_complete_seconds_count") == 5
    assert total(found, f"{name}_quick_submit_seconds_count") == 0


async def test_the_names_of_rill_flows_metrics_are_listed() -> None:
    async with served() as api:
        await api.run(PASS)
        names = (await api.get("/actuator/metrics"))["names"]
    assert names == sorted(set(names))
    assert {"flow_meter_dag_cost_shop_order_seconds", "http_server_requests_seconds"} <= {*names}


async def test_a_switch_closes_rill_flows_metrics() -> None:
    async with served(switches={"ENABLE_OPEN_PROMETHEUS": False}) as api:
        await api.run(PASS)
        found = await samples(api, "/actuator/prometheus")
        assert {sample.name for sample in found} == {
            "http_server_requests_seconds_count",
            "http_server_requests_seconds_max",
            "http_server_requests_seconds_sum",
        }


async def test_metrics_need_the_key() -> None:
    async with served(api_key="k-1") as api:
        for path in ("/metrics", "/actuator/prometheus"):
            assert (await api.client.get(path)).status_code == 401
            await samples(api, path, Authorization="Bearer k-1")


def expressions() -> Iterator[tuple[str, str]]:
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
            yield rule["alert"], rule["expr"]
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
    for panel in board["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$__rate_interval", "5m")
            yield panel["title"], expression


OFFERED: Final = {
    f"{each.name}{ending}": {*each.labels, "process", "le"} | {"instance", "job"}
    for each in METRICS
    for ending in ENDINGS[each.kind]
}


@pytest.mark.parametrize(("title", "expression"), [*expressions()])
def test_alerts_and_panels_ask_for_metrics_and_labels_that_are_offered(
    title: str, expression: str
) -> None:
    parsed = promql_parser.parse(expression)
    selectors = list(_selectors(parsed))
    assert selectors, title
    for selector in selectors:
        assert selector.name in OFFERED, (title, selector.name)
        for matcher in selector.matchers.matchers:
            assert matcher.name in OFFERED[selector.name], (title, matcher.name)
    names = set().union(*(OFFERED[selector.name] for selector in selectors))
    assert set(_grouped_by(parsed)) <= names, title


def test_the_dashboard_shows_everything_about_triggers() -> None:
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
    asked = " ".join(target["expr"] for each in board["panels"] for target in each["targets"])
    names = [each.name for each in METRICS if each.name.startswith("rillflow_trigger_")]
    assert len(names) > 3
    assert [name for name in names if name not in asked] == []


def test_the_page_tells_of_each_alert_what_to_do() -> None:
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text(encoding="utf-8"))
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    page = (DEPLOY.parent / "docs" / "telemetry.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| Rillflow")]
    told = {name for line in lines for name in re.findall(r"Rillflow\w+", line.split("|")[1])}
    assert told == alerts


def _selectors(part: Any) -> Iterator[Any]:
    match part:
        case promql_parser.VectorSelector():
            yield part
        case promql_parser.MatrixSelector():
            yield part.vector_selector
        case promql_parser.AggregateExpr() | promql_parser.ParenExpr():
            yield from _selectors(part.expr)
        case promql_parser.BinaryExpr():
            yield from _selectors(part.lhs)
            yield from _selectors(part.rhs)
        case promql_parser.Call():
            for argument in part.args:
                yield from _selectors(argument)
        case promql_parser.NumberLiteral():
            pass
        case _:
            raise AssertionError(type(part))


def _grouped_by(part: Any) -> Iterator[str]:
    match part:
        case promql_parser.AggregateExpr():
            if part.modifier is not None:
                yield from part.modifier.labels
            yield from _grouped_by(part.expr)
        case promql_parser.BinaryExpr():
            yield from _grouped_by(part.lhs)
            yield from _grouped_by(part.rhs)
        case promql_parser.Call():
            for argument in part.args:
                yield from _grouped_by(argument)
        case _:
            pass


def test_panels_lie_beside_each_other_and_have_a_number_each() -> None:
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
    places = [(each["gridPos"]["x"], each["gridPos"]["y"]) for each in board["panels"]]
    assert len(set(places)) == len(places) == len({each["id"] for each in board["panels"]})
    variables = {each["name"] for each in board["templating"]["list"]}
    assert variables == {"datasource", "workflow"}


def test_the_configuration_of_prometheus_asks_for_the_route_and_the_rules() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text(encoding="utf-8"))
    [job] = config["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert all((DEPLOY / name).exists() for name in config["rule_files"])


async def test_promtool_takes_the_rules_the_configuration_and_the_metrics(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")  # of the package prometheus of Debian
    if promtool is None:  # another system: the other tests read the files
        return
    for name in ("alerts.yaml", "prometheus.yaml"):
        shutil.copy(DEPLOY / name, tmp_path)
    (tmp_path / "rillflow-key").touch()
    async with served() as api:
        await api.run(PASS)
        shown = (await api.client.get("/metrics")).content
    for asked, given in (
        (("rules", "alerts.yaml"), b""),
        (("config", "prometheus.yaml"), b""),
        (("metrics",), shown),
    ):
        checked = await asyncio.to_thread(
            subprocess.run,
            [promtool, "check", *asked],
            cwd=tmp_path,
            input=given,
            capture_output=True,
            check=False,
        )
        told = checked.stdout + checked.stderr
        assert checked.returncode == 0, told.decode()
        assert b"FAILED" not in told
