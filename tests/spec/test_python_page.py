"""docs/python.md: each flow is the definition that follows it, or raises the error that does."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import rillflow.flow
from rillflow.definition import parse_definition
from rillflow.definition.problems import find_problems
from rillflow.errors import FlowError
from rillflow.flow import Flow
from rillflow.flow.calls import CallOptions, RayCallOptions, SubflowOptions, TaskOptions
from rillflow.flow.placeholders.values import MOST_DEPTH, MOST_OPERATIONS
from rillflow.flow.tracing import MOST_TASKS
from tests.spec.documented import Block, blocks_of, tables_of

DOCS: Final = Path(__file__).parents[2] / "docs"
PAGE: Final = (DOCS / "python.md").read_text(encoding="utf-8")
BLOCKS: Final = blocks_of(PAGE)
USED: Final = "use.py"
FLOWS: Final = [
    (block, BLOCKS[place + 1])
    for place, block in enumerate(BLOCKS)
    if block.info == "python" and f'"""{USED}"""' not in block.text
]
RAY_MODULE: Final = next(
    block.text
    for block in blocks_of((DOCS / "ray.md").read_text(encoding="utf-8"))
    if block.info == "python"
)


@pytest.fixture(name="modules", autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "pipeline.py").write_text(RAY_MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) == str(tmp_path / f"{name}.py"):
            del sys.modules[name]


def _flow_in(block: Block) -> Flow[..., Any]:
    file = block.text.partition("\n")[0].strip('"')
    names: dict[str, Any] = {"__name__": file.removesuffix(".py")}
    exec(compile(block.text, file, "exec"), names)  # noqa: S102 - the page's own code
    [found] = [value for value in names.values() if isinstance(value, Flow)]
    return found


@pytest.mark.parametrize(
    ("block", "following"), FLOWS, ids=[f"line {block.line}" for block, _ in FLOWS]
)
def test_a_flow_is_the_definition_that_follows_or_raises_the_error(
    block: Block, following: Block
) -> None:
    flow = _flow_in(block)
    if following.info == "text":
        with pytest.raises(FlowError) as refused:
            flow.to_yaml()
        assert str(refused.value) == following.text
        return
    assert following.info == "yaml"
    assert flow.definition == parse_definition(following.text)
    assert [it.message for it in find_problems(flow.to_yaml())] == []


def test_every_block_is_one_of_these_or_a_command() -> None:
    infos = [block.info for block in BLOCKS]
    assert set(infos) == {"python", "yaml", "text", "bash"}
    assert len(FLOWS) == infos.count("python") - 1 == infos.count("yaml") + infos.count("text")


def test_every_word_is_on_the_page() -> None:
    classes = {"Call", "Flow", "FlowError", "RayCall", "ServeCall", "SubflowCall", "When"}
    missing = [
        word for word in rillflow.flow.__all__ if word not in classes and f"{word}(" not in PAGE
    ]
    assert not missing


def test_every_option_of_a_call_is_on_the_page() -> None:
    [table] = [it for it in tables_of(PAGE) if it.titles == ("option", "of", "meaning")]
    named = " ".join(row.cells[0] for row in table.rows)
    options = {"returns", *TaskOptions.__annotations__, *CallOptions.__annotations__}
    options |= set(SubflowOptions.__annotations__) | {"num_cpus", "num_gpus", "memory"}
    assert not [option for option in options if option not in named]
    assert RayCallOptions.__annotations__.keys() > {"num_cpus", "num_gpus", "memory", "detached"}


def test_the_limits_are_those_of_the_code() -> None:
    said = (
        f"A flow has at most {MOST_TASKS:,} tasks, an expression at most {MOST_OPERATIONS}"
        f" operations, {MOST_DEPTH} in each other."
    )
    assert said in PAGE
