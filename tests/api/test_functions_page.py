"""``docs/functions.md`` shows what works: its modules are served, and its workflow calls them."""

import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from rillflow.functions import Functions, Limits
from tests.api.serving import served
from tests.cluster.processes import announced
from tests.spec.documented import blocks_of

PAGE: Final = (Path(__file__).parents[2] / "docs" / "functions.md").read_text(encoding="utf-8")
MODULES: Final = [block.text for block in blocks_of(PAGE) if block.info == "python"]
[WORKFLOW] = [block.text for block in blocks_of(PAGE) if block.info == "yaml"]
[REFUSAL] = [json.loads(block.text) for block in blocks_of(PAGE) if block.info == "json"]
COMMANDS: Final = [block.text for block in blocks_of(PAGE) if block.info == "bash"]


@pytest.fixture(name="folder", autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the modules of the page, from which they are imported."""
    names = []
    for text in MODULES:
        named = re.match(r'"""(\w+)\.py"""', text)
        assert named is not None
        names.append(named[1])
        (tmp_path / f"{named[1]}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in names:
        sys.modules.pop(name, None)


async def _post(app: Any, path: str, fields: dict[str, Any]) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        return await http.post(path, json=fields)


@pytest.mark.parametrize("command", range(2))
async def test_the_workflow_of_the_page_calls_the_function_as_it_is_served(
    folder: Path, command: int
) -> None:
    [line] = [line for line in COMMANDS[command].splitlines() if line.startswith("rillflow")]
    arguments = shlex.split(line)[1:]
    arguments[arguments.index("greetings.py")] = str(folder / "greetings.py")
    arguments = [word.replace("0.0.0.0", "127.0.0.1") for word in arguments]
    with announced("-m", "rillflow.cli", *arguments, "--port", "0") as said:
        url = said.partition(" at ")[2].partition(": ")[0]
        if "--callback-host" in arguments:
            headers = {"X-Mode": "async"}
            allowed = {
                **headers,
                "X-Callback-Url": "http://flow.example.com:8080/flow/trigger.json?execution_id=e",
            }
            refused = {**headers, "X-Callback-Url": "http://127.0.0.1:1/flow/trigger.json"}
            async with httpx.AsyncClient(base_url=url) as http:
                for sent, status in ((refused, 403), (allowed, 422)):
                    answer = await http.post("/greet", headers=sent, json={"time": 2})
                    assert answer.status_code == status
            return
        async with served() as api:
            text = WORKFLOW.replace("http://127.0.0.1:8081", url)
            ended = await api.ended(await api.submit(await api.add(text), {"name": "Bob"}))
            assert ended["context"]["greeting"] == "Hello, Bob!"


async def test_a_refused_input_is_told_as_the_page_says() -> None:
    module = importlib.import_module("greetings")
    answer = await _post(module.app, "/greet", {"name": "Bob", "time": 2})
    assert (answer.status_code, answer.json()) == (422, REFUSAL)


async def test_the_modules_of_the_page_work_mounted_as_well() -> None:
    films, shop = importlib.import_module("films"), importlib.import_module("shop")
    assert isinstance(films.app, Functions)
    answer = await _post(shop.shop, "/films/cut", {"frames": [1, 2, 3]})
    assert answer.json() == {"data": [1, 3]}


def test_the_limits_are_those_of_the_code() -> None:
    limits = Limits()
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ([^|]*) \|", PAGE, re.MULTILINE)
    said = {
        name: text
        for names, text in rows
        for name in re.findall(r"`(\w+)`", names)
        if hasattr(limits, name)
    }
    assert said.keys() == set(Limits.__dataclass_fields__)
    for name, text in said.items():
        value = getattr(limits, name)
        shown = f"{value // 1024**2:,} MiB" if value >= 1024**2 else f"{value:,.0f}"
        assert shown in text, name
