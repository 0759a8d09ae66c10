"""The Ray-native example is one workflow, in YAML and in Python, of functions that work."""

import importlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

import av
import numpy as np
import pytest

from rillflow import Artifact
from rillflow.definition.canonical import canonical_text
from rillflow.definition.parse import parse_definition

EXAMPLE: Final = Path(__file__).parents[2] / "examples" / "ray-native"
MODULES: Final = ("studio", "film_flow")


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
    shots = studio.draw("Tea", frames=4)
    assert studio.draw("Tea", frames=4)[3]["light"] == shots[3]["light"]
    frames = []
    for shot in shots:
        content = io.BytesIO()
        np.save(content, shot["frame"])
        frames.append(Artifact(content.getvalue(), "application/x-npy"))
    made = studio.join(frames, [0.1, 0.4, 0.2, 0.3], best=2)
    assert made["frames"] == [1, 3]
    with av.open(io.BytesIO(made["film"].read()), "r") as played:
        assert len(list(played.decode(video=0))) == 2
