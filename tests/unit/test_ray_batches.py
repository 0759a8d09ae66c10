"""In a Ray worker one call of a function takes the inputs of many tasks, each with its outcome."""

import io
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from rillflow.artifacts.calls import ArtifactAccess, opened_store
from rillflow.artifacts.store import execution_key
from rillflow.jsontypes import decode_json, encode_json
from rillflow.ray_tasks.targets import FunctionTarget
from rillflow.ray_tasks.worker import BatchCall, Done, FunctionCall, call_batch

MODULE: Final = "batches_of_this_test"
TEXT: Final = """
from __future__ import annotations

from collections.abc import Generator

import numpy
from pydantic import BaseModel


class Photo(BaseModel):
    name: str
    light: float = 1.0


calls = []


def rate(photos: list[Photo], most: float = 5.0) -> list[float]:
    calls.append(len(photos))
    return [most * photo.light for photo in photos]


def named(photos: list[Photo]) -> list[Photo | Exception]:
    return [photo if photo.light > 0 else ValueError(f"{photo.name} is dark") for photo in photos]


def untyped(items):
    return [{"seen": item} for item in items]


def array(items: list[dict]) -> numpy.ndarray:
    return numpy.array([len(item) for item in items])


def steps(items: list[dict]) -> Generator[float, None, list[int]]:
    yield 0.5
    return list(range(len(items)))


async def later(items: list[dict]) -> list[None]:
    return [None for _ in items]


def raises(items: list[dict]) -> list[int]:
    raise LookupError("no model")


def short(items: list[dict]) -> list[int]:
    return [1]


def single(items: list[dict]) -> dict:
    return {}


def no_json(items: list[dict]) -> list[object]:
    return [object() if item else 1 for item in items]


def two(items: list[dict], more: int) -> list[int]:
    return []


def keyword(*, items: list[dict]) -> list[int]:
    return []


def cancelled(items: list[dict]) -> list[int]:
    raise KeyboardInterrupt
"""


@pytest.fixture(name="folder", scope="module", autouse=True)
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("batches")
    (folder / f"{MODULE}.py").write_text(TEXT, encoding="utf-8")
    before = list(sys.path)
    yield folder
    sys.path[:] = before
    sys.modules.pop(MODULE, None)


def called(folder: Path, function: str, *inputs: Any, most_bytes: int = 1000) -> list[Done]:
    call = FunctionCall(
        FunctionTarget(MODULE, function), b"", (MODULE,), (str(folder),), most_bytes
    )
    return call_batch(BatchCall(call, tuple(map(encode_json, inputs))))


def bodies(outcomes: list[Done]) -> list[Any]:
    assert not [one.error for one in outcomes if one.error]
    return [decode_json(one.body) for one in outcomes]


def test_a_function_is_called_once_with_all_inputs_and_has_a_result_for_each(folder: Path) -> None:
    photos = [{"name": "a", "light": "0.5"}, {"name": "b"}]
    assert bodies(called(folder, "rate", *photos)) == [{"data": 2.5}, {"data": 5.0}]
    assert sys.modules[MODULE].calls == [2]


def test_an_input_that_does_not_fit_fails_alone(folder: Path) -> None:
    outcomes = called(folder, "rate", {"name": "a"}, {"light": "dark"}, {"name": "c"})
    assert [one.error is None for one in outcomes] == [True, False, True]
    assert outcomes[1].error is not None
    assert outcomes[1].error.startswith(
        "FunctionInputError: the input has no name, and the elements of photos have the type Photo;"
        " the input light is text, and the elements of photos have the type Photo: Input should be"
        " a valid number, unable to parse string as a number at light"
    )


def test_a_function_is_not_called_where_no_input_fits(folder: Path) -> None:
    [one] = called(folder, "raises", 5)
    assert one.error is not None
    assert one.error.startswith(
        "FunctionInputError: the input is a number, and the elements of items have the type dict:"
    )


def test_a_result_that_is_an_exception_fails_alone(folder: Path) -> None:
    outcomes = called(folder, "named", {"name": "a"}, {"name": "b", "light": 0})
    assert decode_json(outcomes[0].body) == {"name": "a", "light": 1.0}
    assert outcomes[1].error == "ValueError: b is dark"
    error: Any = decode_json(outcomes[1].body)
    assert error["error"]["type"] == "ValueError"


def test_what_is_raised_fails_all(folder: Path) -> None:
    outcomes = called(folder, "raises", {}, {})
    assert [one.error for one in outcomes] == ["LookupError: no model"] * 2


@pytest.mark.parametrize(
    ("function", "outputs"),
    [
        ("untyped", [{"seen": {}}, {"seen": {"a": 1}}]),
        ("array", [{"data": 0}, {"data": 1}]),
        ("steps", [{"data": 0}, {"data": 1}]),
        ("later", [{}, {}]),
    ],
)
def test_functions_of_all_kinds_take_batches(
    folder: Path, function: str, outputs: list[Any]
) -> None:
    assert bodies(called(folder, function, {}, {"a": 1})) == outputs


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("short", "returned 1 results for 2 inputs"),
        ("single", "returned no list for 2 inputs"),
        ("two", "a function takes one parameter, the list of the inputs"),
        ("keyword", "a function takes one parameter, the list of the inputs"),
        ("missing", "has no function missing"),
    ],
)
def test_a_function_that_is_none_of_batches_fails_all(
    folder: Path, function: str, reason: str
) -> None:
    outcomes = called(folder, function, {}, {})
    assert len(outcomes) == 2
    assert all(one.error is not None and reason in one.error for one in outcomes)


def test_a_result_that_is_no_json_or_too_large_fails_alone(folder: Path) -> None:
    outcomes = called(folder, "no_json", {}, {"a": 1})
    assert outcomes[0] == Done(b'{"data":1}')
    assert outcomes[1].error is not None
    assert "is no JSON" in outcomes[1].error
    small, large = called(folder, "untyped", {}, {"a": "x" * 100}, most_bytes=50)
    assert small.error is None
    assert large.error is not None
    assert "50 are allowed" in large.error


def test_a_cancelled_function_is_cancelled_for_all(folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        called(folder, "cancelled", {})


def test_each_input_of_a_batch_has_the_artifacts_of_its_execution(tmp_path: Path) -> None:
    module = "functions_with_films"
    text = "from rillflow import Artifact\n\ndef sizes(films: list[Artifact]):\n"
    text += "    return [{'size': len(film.read()), 'film': film} for film in films]\n"
    (tmp_path / f"{module}.py").write_text(text, encoding="utf-8")
    access = ArtifactAccess(f"memory://{uuid.uuid4().hex}", 100, 100, "none")
    store = opened_store(*access[:3])
    first, second = execution_key("demo:films_c_1"), execution_key("demo:films_c_2")
    one = store.put(first, io.BytesIO(b"a film"), media_type="a/b", name="a")
    lost = one._replace(sha256="0" * 64)
    call = FunctionCall(
        FunctionTarget(module, "sizes"), b"", (module,), (str(tmp_path),), 1_000, artifacts=access
    )
    inputs = tuple(encode_json(each.json()) for each in (one, lost, one))
    outcomes = call_batch(BatchCall(call, inputs, (first, first, second)))
    assert decode_json(outcomes[0].body) == {"size": 6, "film": one.json()}
    assert decode_json(outcomes[2].body) == {"size": 6, "film": one.json()}
    assert "is gone" in str(outcomes[1].error)
    assert store.executions() == {first, second}
