"""Spans of sampled executions reach a collector by OTLP, and nothing waits for it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as wire
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as service

from rillflow.stores import open_store
from rillflow.telemetry.trace_context import attempt_id, root_id, task_id, trace_id_of
from tests.api.definition_texts import PASS, calling
from tests.api.serving import Api, served
from tests.loopback import closed_port, web_server

LONG_S: Final = 60
CALLER: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FUNCTION: Final = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
PARENT: Final = """
workspace: shop
dagName: parent
type: flow
tasks:
  - name: A
    category: function
    pattern: flow_sync
    resourceName: rillflow://shop:order
"""


class Collector:
    """What a collector has received, span by span."""

    def __init__(self) -> None:
        self.spans: dict[str, Any] = {}
        self.resources: list[dict[str, str]] = []
        self._news = asyncio.Event()

    def take(self, request: Any) -> None:
        for resource in request.resource_spans:
            self.resources.append(_facts(resource.resource.attributes))
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans[span.span_id.hex()] = span
        self._news.set()

    async def until(self, span_ids: Iterable[str]) -> list[Any]:
        """Wait for spans, and return them."""
        wanted = list(span_ids)
        async with asyncio.timeout(LONG_S):
            while not set(wanted) <= self.spans.keys():
                self._news.clear()
                await self._news.wait()
        return [self.spans[span_id] for span_id in wanted]

    async def until_named(self, name: str) -> list[Any]:
        """Wait for a span of a name, and return the first one."""
        async with asyncio.timeout(LONG_S):
            while not (found := [each for each in self.spans.values() if each.name == name]):
                self._news.clear()
                await self._news.wait()
        return found[:1]


def _facts(attributes: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in attributes}


@asynccontextmanager
async def over_http(collector: Collector) -> AsyncIterator[dict[str, str]]:
    async def traces(request: web.Request) -> web.Response:
        assert request.headers["X-Tenant"] == "t1"
        collector.take(wire.ExportTraceServiceRequest.FromString(await request.read()))
        return web.Response(body=wire.ExportTraceServiceResponse().SerializeToString())

    async with web_server(**{"v1/traces": traces}) as url:
        yield {ENDPOINT: url}


@asynccontextmanager
async def over_grpc(collector: Collector) -> AsyncIterator[dict[str, str]]:
    class Servicer(service.TraceServiceServicer):
        async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the service's
            assert ("x-tenant", "t1") in context.invocation_metadata()
            collector.take(request)
            return wire.ExportTraceServiceResponse()

    server = grpc.aio.server()
    add_to_server: Any = service.add_TraceServiceServicer_to_server
    add_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield {ENDPOINT: f"http://127.0.0.1:{port}", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    finally:
        await server.stop(None)


WAYS: Final = {"http": over_http, "grpc": over_grpc}


@pytest.fixture(name="variables")
def _variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=t1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    return monkeypatch


def set_all(variables: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        variables.setenv(name, value)


async def submitted(api: Api, descriptor_id: str, traceparent: str = "") -> str:
    answer = await api.client.post(
        "/flow/submit.json",
        params={"descriptor_id": descriptor_id},
        json={},
        headers={"traceparent": traceparent} if traceparent else {},
    )
    return str(answer.json()["execution_id"])


@pytest.mark.parametrize("way", WAYS)
async def test_a_trace_goes_from_the_submitter_through_the_function_to_the_collector(
    way: str, variables: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    async def pay(request: web.Request) -> web.Response:
        seen.append(request.headers["traceparent"])
        answer = await api.client.post(
            request.headers["X-Callback-Url"], json={"a": 7}, headers={"traceparent": FUNCTION}
        )
        assert answer.status_code == 200
        return web.json_response({})

    collector = Collector()
    async with WAYS[way](collector) as values, web_server(pay=pay) as url:
        set_all(variables, values)
        async with served(trace_sampling=1.0) as api:
            text = calling("pay", pattern="task_async", resource=f"{url}/")
            execution_id = await submitted(api, await api.add(text), CALLER)
            ended = await api.ended(execution_id)
            ids = root_id(execution_id, 1), task_id(execution_id, "A", 1)
            attempt = attempt_id(execution_id, "A", 1)
            root, task, call = await collector.until([*ids, attempt])
            metrics = (await api.client.get("/metrics")).text
    assert ended["context"]["traceId"] == CALLER[3:35]
    assert seen == [f"{CALLER[:35]}-{attempt}-01"]
    assert {span.trace_id.hex() for span in (root, task, call)} == {CALLER[3:35]}
    assert [root.name, task.name, call.name] == ["shop:order", "A", "A attempt 1"]
    parents = [span.parent_span_id.hex() for span in (root, task, call)]
    assert parents == [CALLER[36:52], *ids]
    assert [link.span_id.hex() for link in call.links] == [FUNCTION[36:52]]
    facts = _facts(root.attributes)
    assert (facts["rillflow.execution_id"], facts["rillflow.status"]) == (execution_id, "succeeded")
    assert root.start_time_unix_nano <= call.start_time_unix_nano <= call.end_time_unix_nano
    assert collector.resources[0]["service.name"] == "rillflow"
    assert 'rillflow_spans_total{outcome="exported"' in metrics


async def test_an_owner_tells_what_went_on_before_it_began(variables: pytest.MonkeyPatch) -> None:
    async def accept(_: web.Request) -> web.Response:
        return web.json_response({})

    collector, store = Collector(), open_store("memory:")
    async with over_http(collector) as values, web_server(pay=accept) as url:
        set_all(variables, values)
        async with served(trace_sampling=1.0, store=store) as api:
            text = calling("pay", pattern="task_async", resource=f"{url}/")
            execution_id = await submitted(api, await api.add(text))
            async with asyncio.timeout(LONG_S):
                while (await trace_of(api, execution_id))[-1]["name"] != "wait: callback":
                    pass
            before = await trace_of(api, execution_id)
            executions: Any = api.stack.executions
            assert executions.host.trace_of(execution_id) == trace_id_of(execution_id)
        assert not collector.spans
        async with served(trace_sampling=1.0, store=store) as api:
            await api.post("/flow/finish.json", {}, execution_id=execution_id, task_name="A")
            await api.ended(execution_id)
            found = await collector.until(span["id"] for span in before)
    starts = [span.start_time_unix_nano // 1_000_000 for span in found]
    assert starts == [span["from_ms"] for span in before]
    assert {span.trace_id.hex() for span in found} == {trace_id_of(execution_id)}


async def test_an_owner_tells_what_ended_just_before_the_last_one_died(
    variables: pytest.MonkeyPatch,
) -> None:
    collector, store = Collector(), open_store("memory:")
    async with over_http(collector) as values:
        set_all(variables, values)
        variables.setenv("OTEL_SDK_DISABLED", "true")  # the first owner tells nothing
        async with served(trace_sampling=1.0, store=store) as api:
            execution_id = await submitted(api, await api.add(PASS))
            await api.ended(execution_id)
        variables.delenv("OTEL_SDK_DISABLED")
        async with served(trace_sampling=1.0, store=store) as api:
            before = await trace_of(api, execution_id)
            await collector.until(span["id"] for span in before)


async def test_appends_of_a_sampled_execution_are_spans_of_the_store(
    variables: pytest.MonkeyPatch,
) -> None:
    collector = Collector()
    async with over_http(collector) as values:
        set_all(variables, values)
        async with served({"work": lambda _: {"a": 1}}, trace_sampling=1.0) as api:
            execution_id = await submitted(api, await api.add(calling("work")))
            await api.ended(execution_id)
            [root] = await collector.until([root_id(execution_id, 1)])
    appends = [span for span in collector.spans.values() if span.name == "store: append"]
    assert len(appends) == 2  # the submission, and the answer of the function
    assert {span.parent_span_id for span in appends} == {root.span_id}
    assert all(span.end_time_unix_nano >= root.start_time_unix_nano for span in appends)


async def test_an_execution_is_linked_with_the_trigger_that_has_started_it(
    variables: pytest.MonkeyPatch,
) -> None:
    collector = Collector()
    async with over_http(collector) as values:
        set_all(variables, values)
        async with served(trace_sampling=1.0) as api:
            params = {"type": "cron", "descriptor_id": await api.add(PASS)}
            await api.post("/flow/trigger/add_trigger.json", {"cron": "* * * * * *"}, **params)
            [fired] = await collector.until_named("trigger 1")
            execution_id = _facts(fired.attributes)["rillflow.execution_id"]
            [root] = await collector.until([root_id(execution_id, 1)])
    assert [link.span_id for link in fired.links] == [root.span_id]
    assert [link.trace_id for link in fired.links] == [root.trace_id]
    assert [link.span_id for link in root.links] == [fired.span_id]
    assert [link.trace_id for link in root.links] == [fired.trace_id]
    assert fired.start_time_unix_nano <= fired.end_time_unix_nano
    assert fired.start_time_unix_nano % 1_000_000_000 == 0  # it was due at a whole second


async def test_the_execution_of_a_webhook_goes_on_with_the_trace_of_its_sender() -> None:
    async with served(trace_sampling=1.0) as api:
        hook = {
            "id": "hook",
            "descriptor_id": await api.add(PASS),
            "webhook": {"signature": "none"},
        }
        await api.post("/flow/triggers/add.json", hook)
        started = await api.client.post(
            "/flow/hooks/hook", json={}, headers={"traceparent": CALLER}
        )
        ended = await api.ended(started.json()["execution_id"])
    assert ended["context"]["traceId"] == CALLER[3:35]


async def trace_of(api: Api, execution_id: str) -> list[Any]:
    found = await api.get("/flow/console/v1/trace.json", execution_id=execution_id)
    return list(found["spans"])


async def test_a_sub_flow_has_a_trace_of_its_own_linked_with_its_parent(
    variables: pytest.MonkeyPatch,
) -> None:
    collector = Collector()
    async with over_http(collector) as values:
        set_all(variables, values)
        async with served(trace_sampling=1.0) as api:
            await api.add(PASS)
            parent = await submitted(api, await api.add(PARENT), CALLER)
            ended = await api.ended(parent)
            child = ended["tasks"]["A"]["invoke_msg"]["referenced_dag_execution_id"]
            attempt = attempt_id(parent, "A", 1)
            [inner, _] = await collector.until([root_id(child, 1), attempt])
    assert inner.trace_id.hex() == trace_id_of(child)
    assert [link.span_id.hex() for link in inner.links] == [attempt]
    waits = [span for span in collector.spans.values() if span.name == "wait: sub-flow"]
    assert [link.span_id.hex() for span in waits for link in span.links] == [root_id(child, 1)]


async def test_a_collector_that_is_away_holds_nothing_up_and_is_told_of_once(
    variables: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    variables.setenv(ENDPOINT, f"http://127.0.0.1:{closed_port()}")
    caplog.set_level(logging.WARNING, "rillflow.traces")
    async with served(trace_sampling=1.0) as api:
        descriptor_id = await api.add(PASS)
        for _ in range(5):
            ended = await api.ended(await api.submit(descriptor_id))
            assert ended["dag_status"] == "SUCCEED"
        async with asyncio.timeout(LONG_S):
            while not await counted(api, "failed"):
                pass
    told = [record for record in caplog.records if record.message == "spans_lost"]
    # The thread of an earlier test may still send to its collector, which is away as well.
    assert len({record.thread for record in told}) == len(told) > 0
    assert vars(told[0])["spans"] > 0
    assert vars(told[0])["reason"]


async def counted(api: Api, outcome: str) -> float:
    text = (await api.client.get("/metrics")).text
    lines = (
        line for line in text.splitlines() if f'rillflow_spans_total{{outcome="{outcome}"' in line
    )
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def test_without_sampling_nothing_is_traced() -> None:
    headers: list[Any] = []

    async def pay(request: web.Request) -> web.Response:
        headers.append(request.headers)
        return web.json_response({"a": 1})

    async with web_server(pay=pay) as url, served() as api:
        text = calling("pay", resource=f"{url}/")
        ended = await api.ended(await submitted(api, await api.add(text), CALLER))
        assert not await counted(api, "exported")
    assert "traceId" not in ended["context"]
    assert "traceparent" not in headers[0]


async def test_what_the_submitter_does_not_sample_is_passed_on_and_not_exported(
    variables: pytest.MonkeyPatch,
) -> None:
    headers: list[Any] = []

    async def pay(request: web.Request) -> web.Response:
        headers.append(request.headers)
        return web.json_response({"a": 1})

    collector = Collector()
    async with over_http(collector) as values, web_server(pay=pay) as url:
        set_all(variables, values)
        async with served(trace_sampling=1.0) as api:
            descriptor_id = await api.add(calling("pay", resource=f"{url}/"))
            ended = await api.ended(await submitted(api, descriptor_id, CALLER[:-1] + "0"))
            other = await submitted(api, descriptor_id, "nonsense")
            await api.ended(other)
            await collector.until([root_id(other, 1)])
    assert "traceId" not in ended["context"]
    attempt = attempt_id(ended["execution_id"], "A", 1)
    assert headers[0]["traceparent"] == f"{CALLER[:35]}-{attempt}-00"
    assert {span.trace_id.hex() for span in collector.spans.values()} == {trace_id_of(other)}
