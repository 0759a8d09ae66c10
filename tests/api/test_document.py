"""The OpenAPI document tells the truth: whatever is sent, the answer is one it describes.

Nothing answers with an error that the server did not expect: 500 is for refusals of the
engine, with their codes, and never 30101.
"""

import asyncio
import re
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from rillflow.gateways.outbound.settings import HttpSettings
from rillflow.gateways.registry import GatewayRegistry
from rillflow.runtime.local import LocalDispatcher, LocalExecutions
from rillflow.runtime.process.clock import SystemClock
from rillflow.runtime.process.readiness import ReadinessWatch
from rillflow.runtime.stack import Stack
from rillflow.settings import Settings
from rillflow.stores import open_store
from rillflow.testing import FunctionRequest
from serve.api import create_api
from serve.routes.document import add_document
from tests.api.definition_texts import SUSPENDED, calling
from tests.api.serving import Api, NoActors, OneActor, served
from tests.fuzzing import IS_EVERY_RUN, examples
from tests.spec.documented import blocks_of

CONFORMS: Final = [
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
ENGINE_CODES: Final = range(30300, 30700)
EXAMPLES: Final = 24
Case: TypeAlias = schemathesis.Case[Any]
ENDPOINTS: Final = """
/flow/submit.json /flow/finish.json /flow/trigger.json /flow/wakeup.json /flow/redo.json
/flow/multi_redo.json /flow/task_degrade.json /flow/complete.json /flow/cancel.json
/flow/pause.json /flow/resume.json
/flow/get.json /flow/get_by_parent.json /flow/get_context.json /flow/get_sub_context.json
/flow/convert.json /flow/mapping_evaluation.json /flow/function_dispatch_params.json
/flow/dependency_check.json /flow/runtime_dependent_resources.json /flow/validate.json
/flow/clear_runtime_resources.json /flow/business_invoke_summary.json
/flow/business_heap_monitor.json /flow/get_execution_count.json /flow/get_execution_ids.json
/flow/status/check.json /flow/service_check.json /flow/dag/details.json
/flow/customized/storage/init_bucket.json /flow/customized/storage/store.json
/flow/customized/storage/load.json /flow/customized/storage/remove_bucket.json
/flow/customized/storage/remove_element.json
/flow/bg/manage/descriptor/modify_business.json /flow/bg/manage/descriptor/get_business.json
/flow/bg/manage/descriptor/modify_feature.json /flow/bg/manage/descriptor/get_feature.json
/flow/bg/manage/descriptor/modify_alias.json /flow/bg/manage/descriptor/get_alias.json
/flow/bg/manage/descriptor/modify_gray.json /flow/bg/manage/descriptor/get_gray.json
/flow/bg/manage/descriptor/get_ab_key.json
/flow/bg/manage/descriptor/modify_function_ab.json
/flow/bg/manage/descriptor/get_function_ab.json
/flow/bg/manage/descriptor/get_version.json
/flow/bg/manage/descriptor/add_descriptor.json
/flow/bg/manage/descriptor/get_descriptor.json
/flow/bg/get_descriptor.json /flow/bg/get_descriptor_ids.json /flow/bg/get_execution_ids.json
/flow/bg/get_execution.json /flow/bg/user/login.json /flow/bg/user/currentUser.json
/flow/bg/get_business_options.json
/flow/template/get_meta_data_list.json /flow/template/get_task_templates.json
/flow/template/get_template_prototypes.json /flow/template/create_task_template.json
/flow/template/update_task_template.json /flow/template/enable_task_template.json
/flow/template/disable_task_template.json
/flow/trigger/add_trigger.json /flow/trigger/cancel_trigger.json
/flow/trigger/get_trigger_tasks.json
"""
KNOWN: Final = {
    "descriptor_id": "shop:order",
    "service_id": "shop:order",
    "service_ids": "shop:order",
    "business_id": "shop",
    "feature_name": "order",
    "alias": "release",
    "config_key": "greeter",
    "resource_name": "http://127.0.0.1:1/x",
    "task_name": "A",
    "parent": "A",
}
"""Names that lead somewhere; examples use them half of the time."""


class Served:
    """The API in a thread with an event loop of its own, since hypothesis knows none."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.url = ""
        self.known: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._done = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        assert self.ready.wait(30)

    async def _run(self) -> None:
        def work(_: FunctionRequest) -> dict[str, Any]:
            return {"a": 1}

        async with served({"work": work}, submit_max_bytes=20_000) as api:
            await api.add(SUSPENDED, "waiting")
            await api.add(calling("work"))
            execution_id = await api.submit("shop:order")
            await api.ended(execution_id)
            self.known = {**KNOWN, "execution_id": execution_id, "id": execution_id}
            self.url = api.stack.settings.base_url
            self.ready.set()
            await self._done.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()
        self._loop.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    opened = Served()
    yield opened
    opened.stop()


async def document() -> dict[str, Any]:
    """Return the document, for which nothing needs to run."""
    clock, store = SystemClock(), open_store("memory:")
    gateway = GatewayRegistry(HttpSettings(), clock)
    executions = LocalExecutions(store=store, gateway=gateway, clock=clock)
    stack = Stack(
        Settings(),
        store=store,
        executions=executions,
        dispatchers=LocalDispatcher(gateway),
        loops=NoActors(),
        cluster=OneActor(),
        readiness=ReadinessWatch([]),
        clock=clock,
    )
    transport = httpx.ASGITransport(create_api(stack, executions.start))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return dict((await client.get("/openapi.json")).json())


DOCUMENT: Final = asyncio.run(document())
SCHEMA: Final = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS: Final = [
    result.ok() for result in SCHEMA.get_all_operations() if isinstance(result, Ok)
]


@st.composite
def cases(draw: st.DrawFn, operation: Any, known: Mapping[str, str]) -> Case:
    """Draw a request, right or wrong in form, whose names may lead somewhere."""
    mode = draw(st.sampled_from([GenerationMode.POSITIVE, GenerationMode.NEGATIVE]))
    case: Case = draw(operation.as_strategy(generation_mode=mode))
    for name in list(case.query or {}):
        if name in known and draw(st.booleans()):
            case.query[name] = known[name]
    return case


@pytest.mark.one_in(4)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_every_answer_is_one_that_the_document_describes(operation: Any, server: Served) -> None:
    @settings(
        max_examples=examples(EXAMPLES),
        phases=[Phase.generate] if IS_EVERY_RUN else list(Phase),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases(operation, server.known))
    def check(case: Case) -> None:
        response = case.call(base_url=server.url)
        case.validate_response(response, checks=CONFORMS)
        if response.status_code >= 500:
            body = response.json()
            # Rill Flow answers what is wrong with a template as a failure (spec 7.2); the hint says
            # that it is none.
            told = "/flow/template/" in operation.label and body["error_code"] == 30101
            refused = body["error_code"] in ENGINE_CODES or (told and "hint" in body)
            assert (response.status_code, refused) == (500, True), body

    check()


def test_every_endpoint_of_the_specification_is_documented() -> None:
    paths = set(DOCUMENT["paths"])
    missing = [path for path in ENDPOINTS.split() if path not in paths]
    assert not missing


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_every_endpoint_says_what_it_does_and_answers(operation: Any) -> None:
    said = operation.definition.raw
    assert said.get("description") or said.get("summary")
    assert {"200", "400", "422", "500", "503"} <= set(said["responses"])


def test_every_endpoint_is_in_the_page_of_curl_commands_unless_it_is_always_refused() -> None:
    page = Path(__file__).parents[2] / "docs" / "http.md"
    shown = "\n".join(block.text for block in blocks_of(page.read_text(encoding="utf-8")))
    shown = shown.replace("$manage/", "$server/flow/bg/manage/descriptor/")
    called = set(re.findall(r"\$server(/[A-Za-z0-9_/]+(?:\.schema)?(?:\.(?:json|stream))?)", shown))
    refused = {
        path
        for path, operations in DOCUMENT["paths"].items()
        if all("always refused" in each["description"] for each in operations.values())
    }
    paths = {path.partition("{")[0] for path in DOCUMENT["paths"]}
    assert paths - called == refused - called
    assert len(refused) < 10


async def test_the_document_is_made_once_however_many_ask_for_it() -> None:
    class Counted(FastAPI):
        made = 0

        def openapi(self) -> dict[str, Any]:
            self.made += 1
            return {"paths": {}}

    api = Counted(openapi_url=None)
    add_document(api, Settings())
    transport = httpx.ASGITransport(app=api)
    async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
        answers = await asyncio.gather(*(client.get("/openapi.json") for _ in range(9)))
    assert api.made == 1
    assert len({answer.content for answer in answers}) == 1


async def test_the_document_can_be_read_where_the_original_has_its_own(api: Api) -> None:
    response = await api.client.get("/swagger-ui.html", follow_redirects=True)
    assert response.status_code == 200
    assert response.url.path == "/docs"
