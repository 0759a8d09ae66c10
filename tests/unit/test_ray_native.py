"""The Ray-native example is one workflow, in YAML and in Python, of functions that work."""

import importlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import av
import numpy as np
import pytest

from rillflow import Artifact
from rillflow.definition.canonical import canonical_text
from rillflow.definition.parse import parse_definition

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "ray-native"
MODULES: Final = ("studio", "film_flow", "scorer")


@pytest.fixture(name="studio")
def _studio(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(EXAMPLE)
    yield importlib.import_module("studio")
    for name in MODULES:
        sys.modules.pop(name, None)


def test_the_definition_in_yaml_is_the_one_in_python(studio: ModuleType) -> None:
    assert studio
    flow = importlib.import_module("film_flow").film
    text = (EXAMPLE / "workflow.yaml").read_text(encoding="utf-8")
    assert canonical_text(parse_definition(text)) == canonical_text(
        parse_definition(flow.to_yaml())
    )


def test_the_best_frames_make_a_film_that_plays(studio: ModuleType) -> None:
    drawn = studio.draw("Tea", frames=4)
    assert np.array_equal(studio.draw("Tea", frames=4)[3], drawn[3])
    frames = [_stored(each) for each in drawn]
    made = studio.join(frames, [0.1, 0.4, 0.2, 0.3], best=2)
    assert made["frames"] == [1, 3]
    with av.open(io.BytesIO(made["film"].read()), "r") as played:
        assert len(list(played.decode(video=0))) == 2


def test_frames_of_much_contrast_neither_dark_nor_bright_are_good(studio: ModuleType) -> None:
    assert studio
    scorer = importlib.import_module("scorer").Scorer()
    half = np.tile(np.array([0, 255], np.uint8), (4, 2))
    scores = [scorer(_stored(each))["score"] for each in (half, half // 2, half // 255)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(0.5)


def _stored(frame: Any) -> Artifact:
    content = io.BytesIO()
    np.save(content, frame)
    return Artifact(content.getvalue(), "application/x-npy")
