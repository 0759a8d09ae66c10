"""``docs/artifacts.md`` shows what works: its functions pass a file by its workflow."""

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow import Artifact
from rillflow.artifacts.references import reference_of
from rillflow.artifacts.store import MOST_PER_EXECUTION
from rillflow.functions import Limits
from rillflow.settings import Settings
from serve.routes.artifacts import AT_ONCE
from tests.api.serving import served
from tests.api.test_artifacts import functions
from tests.spec.documented import blocks_of

PAGE: Final = (Path(__file__).parents[2] / "docs" / "artifacts.md").read_text(encoding="utf-8")
[MODULE] = [block.text for block in blocks_of(PAGE) if block.info == "python"]
[WORKFLOW] = [block.text for block in blocks_of(PAGE) if block.info == "yaml"]
[REFERENCE] = [json.loads(block.text) for block in blocks_of(PAGE) if block.info == "json"]


@pytest.fixture(name="clips")
def _clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    (tmp_path / "clips.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("clips")
    del sys.modules["clips"]


async def test_the_workflow_of_the_page_passes_a_file(clips: Any, tmp_path: Path) -> None:
    async with served(data_dir=tmp_path) as api, functions(clips.app) as url:
        text = WORKFLOW.replace("http://127.0.0.1:8081", url)
        ended = await api.ended(await api.submit(await api.add(text), {"title": "tea"}))
        context = ended["context"]
        assert context["measured"] == {"first": "tea", "bytes": 8, "name": "clip.txt"}
        assert context["poster"]["media_type"] == "image/svg+xml"
        assert ended["artifacts"] == {"count": 2, "bytes": 14}


def test_a_function_takes_an_artifact_of_a_test(clips: Any) -> None:
    measured = clips.measure(Artifact(b"tea\n", name="a.txt"))
    assert measured == {"first": "tea", "bytes": 4, "name": "a.txt"}


def test_the_reference_and_the_limits_are_those_of_the_code() -> None:
    reference = reference_of(REFERENCE)
    assert reference is not None
    assert reference.json() == REFERENCE
    settings = Settings()
    assert settings.artifact_max_bytes == Limits().artifact_bytes == 1 << 30
    assert settings.artifacts_max_bytes == 10 << 30
    assert f"{MOST_PER_EXECUTION:,} artifacts" in PAGE
    assert f"{AT_ONCE} each" in PAGE
