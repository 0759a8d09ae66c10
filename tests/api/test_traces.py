"""The API tells when an execution did what; the command line draws it, also as executions end."""

import asyncio
from typing import Any, Final

import pytest

from rillflow.cli.output.ended_traces import EndedTraces
from tests.api.definition_texts import PASS, SUSPENDED
from tests.api.serving import Api, served

TRACE: Final = "/flow/console/v1/trace.json"
UNKNOWN: Final = "shop:order_c_8f0f9c00-0000-11f0-8000-000000000000"


async def trace_of(api: Api, execution_id: str, **asked: Any) -> Any:
    return await api.get(TRACE, execution_id=execution_id, **asked)


async def test_an_execution_that_runs_has_spans_without_an_end() -> None:
    async with served() as api:
        execution_id = await api.submit(await api.add(SUSPENDED))
        found = await trace_of(api, execution_id)
        assert {span["kind"] for span in found["spans"]} == {"execution", "task", "wait"}
        assert found["spans"][0]["to_ms"] is None
        assert (await trace_of(api, execution_id, event=1))["seq"] == 1


async def test_an_execution_without_an_event_or_id_is_refused() -> None:
    async with served() as api:
        assert (await api.get_refusal(TRACE, execution_id=UNKNOWN))[0] == 404
        assert (await api.get_refusal(TRACE, execution_id="nonsense"))[0] in {400, 404}
        assert (await api.get_refusal(TRACE))[0] == 422


async def test_traces_are_drawn_as_executions_end(capsys: pytest.CaptureFixture[str]) -> None:
    async with served() as api:
        ended, waiting = await api.add(PASS), await api.add(SUSPENDED.replace("order", "other"))
        traces = EndedTraces(api.stack.settings.base_url, None)
        written: list[str] = []

        def drawn(text: str) -> bool:
            written.append(capsys.readouterr().out)
            return text in "".join(written)

        traces.start()
        try:
            async with asyncio.timeout(60):
                # Only what ends while it listens is told, and it may not listen yet.
                while True:
                    execution_id = await api.submit(ended)
                    await api.submit(waiting)
                    if drawn("succeeded after"):
                        break
        finally:
            traces.stop()
        text = "".join(written)
        assert execution_id.partition("_c_")[0] in text
        assert "shop:other" not in text
