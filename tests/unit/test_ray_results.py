"""What actors and deployments return is encoded beside the event loop, one at a time for each.

Files, bytes, arrays and images are stored there, and the artifacts of an input can be opened.
"""

import asyncio
import io
import os
import pickle
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from rillflow import Artifact
from rillflow.artifacts.artifact import MOST_TRAVELLING_BYTES
from rillflow.artifacts.calls import ArtifactAccess, StoredArtifacts
from rillflow.artifacts.references import reference_of
from rillflow.artifacts.store import execution_key
from rillflow.function_calls.failures import FunctionResultError
from rillflow.jsontypes import decode_json, encode_json
from rillflow.progress_reports import MESSAGE_CHARACTERS
from rillflow.ray_tasks.caller import (
    Caller,
    CallInput,
    CallResult,
    _bounded,
    _end_of,
    _one_of,
)

WAIT_S: Final = 10.0
_NOTHING: Final = CallInput(b"{}")


class Slow:
    """What becomes a list when it may."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()

    def tolist(self) -> list[int]:
        self.begun.set()
        assert self.may_end.wait(WAIT_S)
        return [1]


class EndsError(BaseException):
    """What is no Exception."""


class Ends:
    """What raises while it is encoded."""

    def tolist(self) -> list[int]:
        raise EndsError("in tolist")


class Answer:
    """A remote method that returns, or raises, at once."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def remote(self, **fields: Any) -> Awaitable[Any]:
        if callable(self._result):
            self._result = self._result(**fields)
        future = asyncio.get_running_loop().create_future()
        if isinstance(self._result, BaseException):
            future.set_exception(self._result)
        else:
            future.set_result(self._result)
        return future


def _returning(result: Any) -> Callable[[dict[str, Any]], Awaitable[Any]]:
    async def method(_: dict[str, Any]) -> Any:
        return Answer(result)

    return method


async def _called(
    caller: Caller, host: str, result: Any, given: CallInput = _NOTHING
) -> CallResult:
    return await caller._called(host, _returning(result), given)


def _output(called: CallResult) -> Any:
    assert called.result is not None
    return decode_json(called.result.body)


async def test_a_result_that_takes_long_to_encode_holds_up_its_own_host_only() -> None:
    caller, first, second = Caller((), 1_000), Slow(), Slow()
    calls = [asyncio.create_task(_called(caller, "a", slow)) for slow in (first, second)]
    assert await asyncio.to_thread(first.begun.wait, WAIT_S)
    assert _output(await _called(caller, "b", [2])) == {"data": [2]}
    calls[0].cancel()
    await asyncio.wait({calls[0]})
    assert calls[0].cancelled()
    assert not second.begun.is_set()  # the thread of the first goes on
    for slow in (first, second):
        slow.may_end.set()
    assert _output(await asyncio.wait_for(calls[1], WAIT_S)) == {"data": [1]}


class Noting:
    """A remote method that notes in which thread it is called."""

    def __init__(self) -> None:
        self.thread = threading.main_thread()

    def remote(self, **fields: Any) -> Awaitable[Any]:
        self.thread = threading.current_thread()
        return _Ready(len(fields["text"]))


class _Ready:
    def __init__(self, result: Any) -> None:
        self._result = result

    def __await__(self) -> Generator[Any, None, Any]:
        yield
        return self._result


async def test_a_large_input_is_decoded_and_encoded_beside_the_event_loop() -> None:
    """Decoding it waits for its turn among workspaces; a small one does not."""
    caller, gate, methods = Caller((), 1_000), threading.Event(), [Noting(), Noting()]
    given = [CallInput(encode_json({"text": "x" * size}), None, "w") for size in (200_000, 10)]

    def begun(number: int) -> "asyncio.Task[CallResult]":
        async def method(_: dict[str, Any]) -> Any:
            return methods[number]

        return asyncio.create_task(caller._called("a", method, given[number]))

    held = asyncio.create_task(caller._reading.run("other", gate.wait))
    await asyncio.sleep(0)
    large, small = begun(0), begun(1)
    assert _output(await asyncio.wait_for(small, WAIT_S)) == {"data": 10}
    assert not large.done()
    gate.set()
    assert _output(await asyncio.wait_for(large, WAIT_S)) == {"data": 200_000}
    await held
    assert methods[0].thread is not methods[1].thread is threading.current_thread()


async def test_what_is_raised_while_a_result_is_encoded_is_told() -> None:
    called = await _called(Caller((), 1_000), "a", Ends())
    assert called.result is not None
    assert "EndsError: in tolist" in str(called.result.error)


async def test_what_is_no_exception_of_python_is_told_and_does_not_leave() -> None:
    called = await _called(Caller((), 1_000), "a", EndsError("raised"))
    assert called.result is not None
    assert called.result.error == "EndsError: raised"


# -- artifacts ------------------------------------------------------------------------------------


@pytest.fixture(name="access")
def _access(tmp_path: Path) -> ArtifactAccess:
    url = (tmp_path / "store").as_uri()
    return ArtifactAccess(url, 100_000, 900_000, execution_key("demo:film_c_1"))


def _array(content: bytes) -> Any:
    array: Any = np.load(io.BytesIO(content))
    return array.tolist()


def _size(content: bytes) -> Any:
    return Image.open(io.BytesIO(content)).size


@pytest.mark.parametrize(
    ("result", "media_type", "content"),
    [
        (b"a film", "application/octet-stream", b"a film"),
        (Artifact(b"a film", "video/webm", "a.webm"), "video/webm", b"a film"),
        (np.arange(3), "application/x-npy", [0, 1, 2]),
        (Image.new("L", (2, 1), 7), "image/png", (2, 1)),
    ],
)
async def test_what_is_bytes_an_array_or_an_image_becomes_an_artifact(
    access: ArtifactAccess, result: Any, media_type: str, content: Any
) -> None:
    given = CallInput(b"{}", access)
    output = _output(await _called(Caller((), 1_000), "a", {"made": [result]}, given))
    reference = reference_of(output["made"][0])
    assert reference is not None
    assert reference.media_type == media_type
    stored = StoredArtifacts(access).open(reference, "").read()
    read: dict[str, Callable[[bytes], Any]] = {"application/x-npy": _array, "image/png": _size}
    assert read.get(media_type, bytes)(stored) == content


def _own_class(file: Path) -> Artifact:
    artifact = Artifact(b"")
    artifact._data = file
    return artifact


@pytest.mark.parametrize(
    "returned",
    [
        lambda file: file,
        lambda file: {"clips": [file]},
        Artifact,
        lambda file: {"clips": [Artifact(file, "a/b", "name")]},
        _own_class,
    ],
)
async def test_no_file_that_a_result_names_is_read_here(
    access: ArtifactAccess, tmp_path: Path, returned: Callable[[Path], Any]
) -> None:
    """The function may run as another user, or on another node, than the server that calls it."""
    file = tmp_path / "api-key"
    file.write_text("secret", encoding="ascii")
    given = CallInput(b"{}", access)
    error = _output(await _called(Caller((), 1_000), "a", returned(file), given))["error"]
    assert error["type"] == "FunctionResultError"
    assert f"{file}, which is in no folder of the setting ray_result_folders" in error["message"]


async def test_a_file_of_a_folder_that_the_operator_names_is_read(
    access: ArtifactAccess, tmp_path: Path
) -> None:
    folder, other = tmp_path / "results", tmp_path / "other"
    for each in (folder, other):
        each.mkdir()
        (each / "a.txt").write_text("text", encoding="ascii")
    caller, given = Caller((), 1_000, (str(folder),)), CallInput(b"{}", access)

    async def outcome(file: Path) -> Any:
        return _output(await _called(caller, "a", file, given))

    assert (await outcome(folder / "a.txt"))["bytes"] == 4
    (folder / "link.txt").symlink_to(other / "a.txt")
    (folder / "folder").symlink_to(other)
    # Nobody is told whether there is a file elsewhere.
    ways_out = ("link.txt", "folder/a.txt", "../other/a.txt", "../other/none.txt", "../none/a.txt")
    for error in [(await outcome(folder / each))["error"] for each in ways_out]:
        assert "which is in no folder of the setting ray_result_folders" in error["message"]
    os.mkfifo(folder / "pipe")
    for error in [(await outcome(folder / each))["error"] for each in (".", "pipe")]:
        assert error["type"] == "FunctionResultError"
    (folder / "circle").symlink_to(folder / "circle")
    for name in ("b.txt", "circle"):
        lost = (await outcome(folder / name))["error"]["message"]
        assert f"the file {folder}/{name}, which the server cannot read" in lost


async def test_an_artifact_of_a_file_has_its_content_read_before_it_leaves_its_process(
    access: ArtifactAccess, tmp_path: Path
) -> None:
    file = tmp_path / "a.webm"
    file.write_bytes(b"a film")
    travels = pickle.dumps({"clip": Artifact(file)})
    file.unlink()
    given = CallInput(b"{}", access)
    returned = pickle.loads(travels)  # noqa: S301 - it was written here, as Ray does it
    output = _output(await _called(Caller((), 1_000), "a", returned, given))
    reference = reference_of(output["clip"])
    assert reference is not None
    assert (reference.name, reference.media_type) == ("a.webm", "video/webm")
    assert StoredArtifacts(access).open(reference, "").read() == b"a film"


def test_a_file_that_is_too_large_does_not_leave_its_process(tmp_path: Path) -> None:
    file = tmp_path / "a.webm"
    file.touch()
    os.truncate(file, MOST_TRAVELLING_BYTES + 1)
    with pytest.raises(OSError, match="has over 268435456 bytes"):
        pickle.dumps(Artifact(file))


async def test_a_method_opens_what_its_input_refers_to(access: ArtifactAccess) -> None:
    film = StoredArtifacts(access).keep(io.BytesIO(b"a film"), "video/webm", "a.webm")

    def measure(clip: Artifact, title: str) -> dict[str, Any]:
        return {"title": title, "first": clip.read()[:1].decode(), "clip": clip}

    given = CallInput(encode_json({"clip": film.json(), "title": "sea"}), access)
    output = _output(await _called(Caller((), 1_000), "a", measure, given))
    assert output == {"title": "sea", "first": "a", "clip": film.json()}


async def test_a_lost_artifact_fails_the_call_with_its_name(access: ArtifactAccess) -> None:
    calls: list[Artifact] = []

    def measure(clip: Artifact) -> None:
        calls.append(clip)

    clip = {"rillflow_artifact": "a" * 64, "bytes": 1, "media_type": "a/b", "name": "a.webm"}
    given = CallInput(encode_json({"clip": clip}), access)
    error = _output(await _called(Caller((), 1_000), "a", measure, given))["error"]
    assert error["type"] == "ArtifactLostError"
    assert "the artifact a.webm (aaaaaaaaaaaa) is gone" in error["message"]
    assert not calls


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        ([b"once ", b"upon"], b"once upon"),
        (["once ", "upon"], "once upon"),
        (["once ", b"upon"], ["once ", b"upon"]),
        ([], []),
    ],
)
def test_parts_of_a_stream_that_are_all_texts_or_all_bytes_are_joined(
    parts: list[Any], joined: Any
) -> None:
    assert _one_of(parts) == joined


# -- streams --------------------------------------------------------------------------------------


async def _parts(*parts: Any) -> AsyncIterator[Any]:
    for part in parts:
        yield part


@pytest.mark.parametrize("parts", [["x" * 60], [""] * 2, [{}] * 2, [b"x" * 40, b""]])
async def test_a_stream_is_bounded_whatever_its_parts_are(parts: list[Any]) -> None:
    with pytest.raises(FunctionResultError, match="the stream has more than 120 bytes"):
        _ = [part async for part in _bounded(_parts(*parts), 120)]
    assert [part async for part in _bounded(_parts(*parts), 1_000)] == parts


def test_the_progress_of_a_stream_is_the_end_of_its_text_or_the_number_of_its_parts() -> None:
    assert _end_of(["once ", "upon"]) == "once upon"
    assert _end_of(["a" * 500, "b"]) == "a" * (MESSAGE_CHARACTERS - 1) + "b"
    assert _end_of(["once", {}]) == "2 parts"
