"""A remote method is given artifacts that it can open, and that are references as before."""

import io
import json
import pickle
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import TypeAdapter

from rillflow import Artifact
from rillflow.artifacts.artifact import artifacts_from
from rillflow.artifacts.calls import (
    MOST_ARTIFACTS,
    MOST_REFERENCES,
    ArtifactAccess,
    StoredArtifacts,
    with_opened,
)
from rillflow.artifacts.references import ArtifactReference
from rillflow.artifacts.results import with_artifacts
from rillflow.artifacts.store import execution_key
from rillflow.errors import ArtifactLostError, TooLargeError
from rillflow.jsontypes import encode_json

FILM: Final = b"a film"


@pytest.fixture(name="access")
def _access(tmp_path: Path) -> ArtifactAccess:
    return ArtifactAccess(tmp_path.as_uri(), 1_000, 9_000, execution_key("demo:film_c_1"))


@pytest.fixture(name="film")
def _film(access: ArtifactAccess) -> ArtifactReference:
    return StoredArtifacts(access).keep(io.BytesIO(FILM), "video/webm", "a.webm")


def test_a_reference_anywhere_in_an_input_can_be_opened(
    access: ArtifactAccess, film: ArtifactReference
) -> None:
    given = {"topic": "sea", "shots": [{"film": film.json()}]}
    fields = with_opened(given, access)
    opened = fields["shots"][0]["film"]
    assert isinstance(opened, Artifact)
    assert opened.read() == FILM
    assert (opened.name, opened.media_type, opened.size_bytes) == ("a.webm", "video/webm", 6)
    assert opened.sha256 == film.sha256
    assert fields["topic"] == "sea"


def test_what_can_be_opened_is_the_reference_too(
    access: ArtifactAccess, film: ArtifactReference
) -> None:
    opened = with_opened({"film": film.json()}, access)["film"]
    assert opened == film.json()
    assert opened["bytes"] == 6
    assert json.loads(json.dumps(opened)) == json.loads(encode_json(opened)) == film.json()
    assert TypeAdapter(dict[str, Any]).validate_python(opened) == film.json()
    assert TypeAdapter(Artifact).validate_python(opened) is opened
    with artifacts_from(StoredArtifacts(access)):
        assert with_artifacts({"again": opened}) == {"again": film.json()}
    assert access.store_url not in f"{opened!r} {opened!s}"


def test_it_is_opened_in_whichever_process_it_comes_to(
    access: ArtifactAccess, film: ArtifactReference
) -> None:
    opened = with_opened({"film": film.json()}, access)["film"]
    with artifacts_from(StoredArtifacts(access)):
        asked_for = TypeAdapter(Artifact).validate_python(film.json())
    for artifact in (opened, asked_for):
        arrived = pickle.loads(pickle.dumps(artifact))  # noqa: S301 - our own
        assert type(arrived) is type(artifact)
        assert arrived.read() == FILM
        assert arrived.stored() == film


def test_what_is_gone_or_of_another_workspace_is_refused_before_the_call(
    access: ArtifactAccess, film: ArtifactReference
) -> None:
    elsewhere = access._replace(execution=execution_key("shop:film_c_1"))
    with pytest.raises(ArtifactLostError, match=r"a\.webm .* is gone, or not of this workspace"):
        with_opened({"film": film.json()}, elsewhere)
    with pytest.raises(ArtifactLostError):
        with_opened({"film": film.json() | {"rillflow_artifact": "a" * 64}}, access)


def test_what_is_given_to_an_execution_stays_as_long_as_it_does(
    access: ArtifactAccess, film: ArtifactReference
) -> None:
    later = access._replace(execution=execution_key("demo:film_c_2"))
    opened = with_opened({"film": film.json()}, later)["film"]
    store = StoredArtifacts(access)._store
    assert store.release(access.execution) == 1
    assert store.sweep(0) == 0
    assert opened.read() == FILM


@pytest.mark.parametrize("count", [MOST_ARTIFACTS, MOST_REFERENCES])
def test_an_input_refers_to_so_many_at_most(
    access: ArtifactAccess, film: ArtifactReference, count: int
) -> None:
    films = [film.json()] * count
    if count == MOST_ARTIFACTS:
        stored = StoredArtifacts(access._replace(execution_max_bytes=1 << 20))
        films = [
            stored.keep(io.BytesIO(b"%d" % number), "text/plain", "a.txt").json()
            for number in range(count)
        ]
    assert with_opened(films, access)[-1] == films[-1]
    with pytest.raises(TooLargeError, match=r"1000 artifacts, 10000 times"):
        with_opened([*films, film.json()], access)
