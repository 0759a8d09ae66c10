"""An artifact is stored once, whoever uses it, and goes with the last execution that uses it.

The rules hold in a folder, in memory, and in a bucket of a server that speaks S3.
"""

import errno
import hashlib
import io
import os
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

import boto3
import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from moto.server import ThreadedMotoServer

from rillflow.artifacts.marks import LEAST_BYTES, KeyMark
from rillflow.artifacts.references import ArtifactReference, clean_name, reference_of, replaced
from rillflow.artifacts.store import ArtifactStore, execution_key
from rillflow.artifacts.store_room import BYTES_OF_INODE, free_bytes
from rillflow.artifacts.workspace_marks import WorkspaceMarks
from rillflow.errors import ArtifactLostError, TooLargeError
from tests.unit.test_linear_readers import lines_of

KINDS: Final = ("folder", "memory", "s3")
ONE: Final = execution_key("demo:film_c_1")
TWO: Final = execution_key("demo:film_c_2")


@pytest.fixture(name="bucket", scope="module")
def _bucket() -> Iterator[str]:
    """A bucket of a real server on loopback, which the environment names."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    _, port = server.get_host_and_port()
    named = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {name: os.environ.get(name) for name in named}
    os.environ.update(named)
    try:
        boto3.client("s3").create_bucket(Bucket="films")
        yield "films"
    finally:
        server.stop()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@pytest.fixture(name="store", params=KINDS)
def _store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    name = uuid.uuid4().hex
    if request.param == "folder":
        url = f"file://{tmp_path}/artifacts"
    elif request.param == "memory":
        url = f"memory://{name}"
    else:
        url = f"s3://{request.getfixturevalue('bucket')}/{name}"
    return ArtifactStore(url, max_bytes=1_000, execution_max_bytes=2_000)


def put(
    store: ArtifactStore, execution: str, content: bytes, name: str = "film.webm"
) -> ArtifactReference:
    return store.put(execution, io.BytesIO(content), media_type="video/webm", name=name)


def read(store: ArtifactStore, reference: ArtifactReference) -> bytes:
    with store.open(reference) as content:
        return content.read()


def test_what_is_stored_is_read_again_and_found_by_its_hash(store: ArtifactStore) -> None:
    reference = put(store, ONE, b"a film")
    sha256 = hashlib.sha256(b"a film").hexdigest()
    assert reference == (sha256, 6, "video/webm", "film.webm")
    assert read(store, reference) == b"a film"
    assert store.find(sha256) == reference
    with store.open(reference) as content:
        content.seek(2)
        assert content.read(2) == b"fi"
    assert store.find("0" * 64) is None
    assert store.find("../../etc/passwd") is None


def test_the_same_content_counts_once_for_an_execution_and_for_each_execution(
    store: ArtifactStore,
) -> None:
    assert put(store, ONE, b"a film") == put(store, ONE, b"a film")
    put(store, ONE, b"another")
    put(store, TWO, b"a film", "copy.webm")
    assert store.total_of(ONE) == (2, 13)
    assert store.total_of(TWO) == (1, 6)
    assert store.total_of(execution_key("none")) == (0, 0)


def test_what_a_key_uses_is_counted_from_its_start_to_its_release(store: ArtifactStore) -> None:
    put(store, ONE, b"a film")
    store.keys.keep(ONE, KeyMark("4f", "few", 1_000))
    assert store.keys.total_of("4f") == LEAST_BYTES, "what the execution had before counts"
    reference = put(store, ONE, b"another")
    put(store, ONE, b"another")
    put(store, TWO, b"of no key")
    assert store.keys.total_of("4f") == 2 * LEAST_BYTES
    store.keys.keep(TWO, KeyMark("4f", "few", 1_000))
    store.adopt(TWO, reference)
    assert store.keys.total_of("4f") == 4 * LEAST_BYTES
    store.release(ONE, heir=TWO)
    assert store.keys.total_of("4f") == 3 * LEAST_BYTES
    store.release(TWO)
    assert (store.keys.total_of("4f"), store.keys.total_of("none")) == (0, 0)


def test_what_an_earlier_release_has_stored_counts_for_its_key(store: ArtifactStore) -> None:
    put(store, ONE, b"a film")
    fs, root = store._file_system()
    fs.pipe_file(f"{root}/keys/{ONE}/4f", b'{"name":"few","most_bytes":1000}')
    assert store.keys.total_of("4f") == LEAST_BYTES
    put(store, ONE, b"another")
    assert store.keys.total_of("4f") == 2 * LEAST_BYTES


@pytest.mark.parametrize("store", ["folder"], indirect=True)
def test_the_total_of_a_key_reads_nothing_of_others(store: ArtifactStore) -> None:
    store.keys.keep(ONE, KeyMark("4f", "few", 1_000))
    put(store, ONE, b"a film")
    costs = []
    for number in range(20):
        costs.append(lines_of(lambda: store.keys.total_of("4f")))
        other = execution_key(f"demo:film_c_other{number}")
        store.keys.keep(other, KeyMark("5a", "many", 1_000))
        put(store, other, b"another")
    assert len(set(costs[1:])) == 1, costs


def test_an_artifact_goes_with_the_last_execution_that_uses_it(store: ArtifactStore) -> None:
    reference = put(store, ONE, b"a film")
    store.adopt(TWO, reference)
    assert store.release(ONE) == 1
    assert store.sweep(0) == 0
    assert read(store, reference) == b"a film"
    assert store.release(TWO) == 1
    assert read(store, reference) == b"a film"  # it lies in the trash for a while
    assert store.sweep(3_600) == 0
    assert store.sweep(0) == 1
    with pytest.raises(ArtifactLostError, match=r"film\.webm \([0-9a-f]{12}\) is gone"):
        read(store, reference)
    with pytest.raises(ArtifactLostError, match="is gone"):
        store.adopt(ONE, reference)


def test_what_is_in_the_trash_comes_back_when_it_is_used_again(store: ArtifactStore) -> None:
    reference = put(store, ONE, b"a film")
    store.release(ONE)
    put(store, ONE, b"a film")
    store.sweep(0)
    assert read(store, reference) == b"a film"


def test_an_execution_of_another_workspace_cannot_tell_an_artifact_from_one_that_is_not_there(
    store: ArtifactStore,
) -> None:
    reference = put(store, ONE, b"a form with a number")
    other = execution_key("shop:film_c_1")
    said = []
    for asked in (reference, reference._replace(sha256="0" * 64)):
        with pytest.raises(ArtifactLostError) as caught:
            store.adopt(other, asked)
        said.append(str(caught.value).replace(asked.sha256[:12], ""))
    assert said[0] == said[1]
    assert not store.belongs(reference.sha256, other)
    assert store.total_of(other) == (0, 0)
    store.adopt(TWO, reference)  # of the same workspace
    own = put(store, other, b"a form with a number", "own.webm")
    assert store.find(own.sha256, other) == own


def test_a_sub_flow_of_another_workspace_uses_what_it_is_given_and_leaves_what_it_makes(
    store: ArtifactStore,
) -> None:
    child = execution_key("shop:child_c_1", ["demo:film_c_1", "demo:middle_c_1"])
    plain = execution_key("shop:child_c_1")
    given = put(store, ONE, b"given")
    store.adopt(child, given)
    assert store.belongs(given.sha256, plain)
    made = put(store, child, b"made")
    store.adopt(TWO, made)
    assert store.release(plain, heir=ONE) == 2
    store.release(TWO)
    store.sweep(0)
    assert {read(store, each) for each in (given, made)} == {b"given", b"made"}
    assert store.release(ONE) == 2
    assert store.sweep(0) == 2


def test_a_sub_flow_hands_nothing_of_its_workspace_to_the_one_that_started_it(
    store: ArtifactStore,
) -> None:
    reference = put(store, execution_key("shop:other_c_1"), b"a form of the shop")
    child = execution_key("shop:child_c_1", ["demo:film_c_1"])
    store.adopt(child, reference)  # by a forged reference in its input
    with pytest.raises(ArtifactLostError):
        store.adopt(ONE, reference)
    store.release(child, heir=ONE)
    with pytest.raises(ArtifactLostError):
        store.adopt(ONE, reference)
    assert store.total_of(ONE) == (0, 0)


def test_an_heir_keeps_what_a_removed_execution_had(store: ArtifactStore) -> None:
    reference = put(store, ONE, b"a film")
    store.release(ONE, heir=TWO)
    store.sweep(0)
    assert read(store, reference) == b"a film"
    assert store.total_of(TWO) == (1, 6)
    assert store.find(reference.sha256) == reference


def test_one_artifact_and_all_of_an_execution_are_limited(store: ArtifactStore) -> None:
    with pytest.raises(TooLargeError, match="an artifact may have up to 1000 bytes"):
        put(store, ONE, b"x" * 1_001)
    first = put(store, ONE, b"x" * 1_000)
    put(store, ONE, b"y" * 1_000)
    with pytest.raises(TooLargeError, match="have up to 2000 bytes together"):
        put(store, ONE, b"z")
    assert put(store, ONE, b"x" * 1_000) == first
    other = put(store, TWO, b"z")
    with pytest.raises(TooLargeError, match="together"):
        store.adopt(ONE, other._replace(size_bytes=0))
    assert store.total_of(ONE) == (2, 2_000)


def test_a_folder_is_open_to_its_owner_only_and_keeps_no_drafts(tmp_path: Path) -> None:
    store = ArtifactStore(f"file://{tmp_path}/new/artifacts", max_bytes=10, execution_max_bytes=99)
    put(store, ONE, b"a film")
    with pytest.raises(TooLargeError):
        put(store, ONE, b"x" * 11)
    root = tmp_path / "new" / "artifacts"
    assert root.stat().st_mode & 0o777 == 0o700
    [file] = (root / "data").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    store.release(ONE)
    store.sweep(0)
    assert not [path for path in root.rglob("*") if path.is_file()]
    assert {path.name for path in (root / "executions").iterdir()} == set()


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("film.webm", "film.webm"),
        ("../../etc/passwd", "passwd"),
        ("C:\\films\\a b.webm", "a b.webm"),
        ('a"\r\nX: y', "a___X_ y"),
        ("..", "artifact"),
        ("", "artifact"),
        (None, "artifact"),
        ("x" * 500, "x" * 128),
        ("\u202efilm", "_film"),
    ],
)
def test_names_are_one_part_of_a_path(name: object, clean: str) -> None:
    assert clean_name(name) == clean


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"rillflow_artifact": 1},
        {"rillflow_artifact": "A" * 64},
        {"rillflow_artifact": "../" * 30},
    ],
)
def test_what_is_no_reference_is_left_as_it_is(value: object) -> None:
    assert reference_of(value) is None
    assert replaced({"a": [value]}, lambda _: "replaced") == {"a": [value]}


def test_a_reference_of_somebody_else_is_read_with_care() -> None:
    hostile = {
        "rillflow_artifact": "a" * 64,
        "bytes": -5,
        "media_type": "text/html; charset=x",
        "name": "/a/b\n",
        "url": "http://elsewhere.example",
    }
    assert reference_of(hostile) == ("a" * 64, 0, "text/html", "b_")
    assert reference_of({**hostile, "media_type": "a\r\nb"}) == (
        "a" * 64,
        0,
        "application/octet-stream",
        "b_",
    )
    found = replaced({"a": [{"b": hostile}]}, lambda reference: reference.name)
    assert found == {"a": [{"b": "b_"}]}


def test_a_local_disk_keeps_the_room_free_that_it_must(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/artifacts"
    store = ArtifactStore(url, max_bytes=99, execution_max_bytes=99, min_free_bytes=1 << 60)
    for work in (lambda: put(store, ONE, b"a film"), store.scratch, store.require_free):
        with pytest.raises(OSError, match="artifacts_min_free_bytes") as caught:
            work()
        assert caught.value.errno == errno.ENOSPC
    assert list((tmp_path / "artifacts" / "data").iterdir()) == []
    roomy = ArtifactStore(url, max_bytes=99, execution_max_bytes=99, min_free_bytes=1)
    assert read(roomy, put(roomy, ONE, b"a film")) == b"a film"


def test_the_whole_store_takes_no_more_than_it_may(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/artifacts"
    store = ArtifactStore(url, max_bytes=99, execution_max_bytes=999, total_bytes=20)
    assert put(store, ONE, b"ten bytes!").size_bytes == 10
    assert put(store, TWO, b"ten bytes?").size_bytes == 10
    with pytest.raises(OSError, match="artifacts_total_bytes") as caught:
        put(store, ONE, b"one more")
    assert caught.value.errno == errno.EDQUOT
    assert put(store, ONE, b"ten bytes?").size_bytes == 10, "it is there already"
    # Another process counts what is there.
    again = ArtifactStore(url, max_bytes=99, execution_max_bytes=999, total_bytes=20)
    with pytest.raises(OSError, match="artifacts_total_bytes"):
        put(again, ONE, b"one more")
    roomy = ArtifactStore(url, max_bytes=99, execution_max_bytes=999, total_bytes=28)
    assert put(roomy, ONE, b"one more").size_bytes == 8


def marks_of_workspaces(store: ArtifactStore) -> list[str]:
    fs, root = store._file_system()
    return sorted("/".join(path.split("/")[-2:]) for path in fs.find(f"{root}/workspaces"))


def as_of_an_earlier_release(store: ArtifactStore) -> None:
    """Remove what releases before have not stored."""
    fs, root = store._file_system()
    for path in fs.find(f"{root}/workspaces"):
        fs.rm_file(path)


def test_a_workspace_has_a_mark_of_an_artifact_while_an_execution_of_it_has_one(
    store: ArtifactStore,
) -> None:
    reference = put(store, ONE, b"a film")
    store.adopt(TWO, reference)
    other = execution_key("shop:film_c_1")
    put(store, other, b"a film")
    demo, shop = (f"{each.partition('-')[0]}/{reference.sha256}" for each in (ONE, other))
    assert marks_of_workspaces(store) == sorted([demo, shop])
    store.release(ONE)
    assert marks_of_workspaces(store) == sorted([demo, shop])
    store.release(TWO)
    assert marks_of_workspaces(store) == [shop]
    with pytest.raises(ArtifactLostError):
        store.adopt(ONE, reference)
    store.release(other)
    assert marks_of_workspaces(store) == []


class ChangedMemory(MemoryFileSystem):  # type: ignore[misc] # fsspec has no types
    """A store in memory in which something happens before a mark of a workspace goes."""

    protocol = "changedmemory"
    happens: ClassVar[list[Callable[[], object]]] = []

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        if "/workspaces/" in path and self.happens:
            self.happens.pop()()
        super().rm_file(path)


fsspec.register_implementation("changedmemory", ChangedMemory, clobber=True)


def test_a_workspace_that_gets_a_mark_while_another_one_goes_keeps_its_own() -> None:
    url = f"changedmemory://{uuid.uuid4().hex}"
    store = ArtifactStore(url, max_bytes=1_000, execution_max_bytes=2_000)
    reference = put(store, ONE, b"a film")
    ChangedMemory.happens.append(lambda: put(store, TWO, b"a film"))
    store.release(ONE)
    assert not ChangedMemory.happens
    assert marks_of_workspaces(store) == [f"{TWO.partition('-')[0]}/{reference.sha256}"]
    store.adopt(ONE, reference)


def test_what_an_earlier_release_has_stored_is_used_by_its_workspace_and_no_other(
    store: ArtifactStore,
) -> None:
    reference, other = put(store, ONE, b"a film"), execution_key("shop:film_c_1")
    as_of_an_earlier_release(store)
    with pytest.raises(ArtifactLostError):
        store.adopt(other, reference)
    store.adopt(TWO, reference)
    as_of_an_earlier_release(store)
    assert store.release(ONE, heir=execution_key("demo:film_c_3")) == 1
    assert store.release(TWO) == 1
    assert store.total_of(execution_key("demo:film_c_3")) == (1, 6)


class ListedMemory(MemoryFileSystem):  # type: ignore[misc] # fsspec has no types
    """A file system in memory that counts its listings."""

    protocol = "listedmemory"
    listings = 0

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002
        """List a folder."""
        type(self).listings += 1
        return super().ls(path, detail=detail, **kwargs)


def test_what_a_workspace_lacks_is_looked_for_once_in_a_second() -> None:
    fs, now_s = ListedMemory(), 5.0
    marks = WorkspaceMarks(lambda: (fs, f"/{uuid.uuid4().hex}"), lambda: now_s)
    for seconds, listings in ((0.0, 1), (0.5, 1), (0.6, 2)):
        now_s += seconds
        assert not marks.have(["shop"], "f" * 64)
        assert ListedMemory.listings == listings


def test_a_small_artifact_counts_for_what_a_file_takes(store: ArtifactStore) -> None:
    for number in range(3):
        put(store, ONE, b"%d" % number)
    assert store.total_of(ONE) == (3, 3), "views show what there is"
    assert store.total_of_workspace("demo") == 3 * LEAST_BYTES


def test_free_inodes_count_as_free_bytes_where_there_are_few() -> None:
    for blocks, inodes, free_inodes, free in (
        (100, 9_000, 9_000, 400_000),
        (100, 9_000, 2, 2 * BYTES_OF_INODE),
        (100, 0, 0, 400_000),
    ):
        disk = os.statvfs_result((0, 4_000, 0, 0, blocks, inodes, 0, free_inodes, 0, 0))
        assert free_bytes(disk) == free


def test_marks_are_taken_until_half_of_the_room_that_must_stay_free_is_used(tmp_path: Path) -> None:
    url, free = f"file://{tmp_path}/artifacts", free_bytes(os.statvfs(tmp_path))
    reference = put(ArtifactStore(url, max_bytes=99, execution_max_bytes=99), ONE, b"a film")
    for least, execution in ((free * 3 // 2, TWO), (free * 3, execution_key("demo:film_c_3"))):
        store = ArtifactStore(url, max_bytes=99, execution_max_bytes=99, min_free_bytes=least)
        with pytest.raises(OSError, match="one inode for each 16384"):
            put(store, execution, b"another")
        if execution == TWO:
            store.adopt(execution, reference)
        else:
            with pytest.raises(OSError, match="one inode for each 16384"):
                store.adopt(execution, reference)


def _shared_by(executions: int, folder: Path) -> tuple[ArtifactStore, ArtifactReference]:
    """Return a store in a folder with an artifact that so many executions use."""
    store = ArtifactStore(f"file://{folder}", max_bytes=99, execution_max_bytes=99)
    film = put(store, execution_key("demo:film_c_0"), b"a film")
    for number in range(1, executions):
        store.adopt(execution_key(f"demo:film_c_{number}"), film)
    return store, film


def test_the_artifact_of_many_executions_is_found_and_released_as_fast_as_that_of_few(
    tmp_path: Path,
) -> None:
    few, film = _shared_by(4, tmp_path / "few")
    many, _ = _shared_by(400, tmp_path / "many")
    for store in (few, many):
        store.release(execution_key("demo:film_c_3"))  # what is opened once is not counted
    found = [lines_of(partial(store.find, film.sha256)) for store in (few, many)]
    leaving = execution_key("demo:film_c_2")
    released = [lines_of(partial(store.release, leaving)) for store in (few, many)]
    assert found[1] <= found[0] * 1.1
    assert released[1] <= released[0] * 1.1
    assert [store.find(film.sha256) is not None for store in (few, many)] == [True, True]


def test_the_marks_of_an_earlier_release_go_with_their_execution(store: ArtifactStore) -> None:
    outer = execution_key("demo:film_c_9")
    below = execution_key("cut:part_c_1", ["demo:film_c_9"])
    made = put(store, below, b"a part")
    fs, root = store._file_system()
    for path in fs.find(f"{root}/executions"):
        fs.pipe_file(path, b"")
    assert store.release(below) == 1
    with pytest.raises(ArtifactLostError):
        store.adopt(outer, made)
