"""A script joins the stack of its folder, and not just any that runs on the machine."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rillflow.client.ray_transport.addresses import require_listener
from rillflow.client.ray_transport.driver import _refused, address_here
from rillflow.errors import UnreachableError
from rillflow.jsontypes import encode_json
from rillflow.settings import STACK_NOTE


@pytest.fixture(name="folder", autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RILLFLOW_DATA_DIR", str(tmp_path))
    return tmp_path


def test_the_stack_that_runs_on_the_data_folder_is_the_one(folder: Path) -> None:
    note = {"pid": os.getpid(), "ray_address": "192.0.2.2:6379"}
    (folder / STACK_NOTE).write_bytes(encode_json(note))
    assert address_here() == "192.0.2.2:6379"


def test_a_script_without_the_token_is_told_how_to_get_it(folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"LOCALHOST:{server.getsockname()[1]}"
        note = {"pid": os.getpid(), "ray_address": address}
        (folder / STACK_NOTE).write_bytes(encode_json(note))
        ways: tuple[tuple[str, dict[str, str]], ...] = (
            ("connect()", {}),
            ("connect()", {"RAY_ADDRESS": address}),
            (f"connect(address={address!r})", {}),
        )
        for call, variables in ways:
            told = _told(call, HOME=str(tmp_path), **variables)
            assert told[0].endswith(f"Ray at {address} asks for a token, and this script has none")
            assert "RAY_AUTH_TOKEN_PATH" in told[1]


@pytest.mark.parametrize(
    "note", [b"{", b"[]", b"{}", b'{"pid": 0, "ray_address": "a:1"}', b'{"pid": "1"}']
)
def test_without_one_that_runs_ray_looks_around(folder: Path, note: bytes) -> None:
    assert address_here() == "auto"
    (folder / STACK_NOTE).write_bytes(note)
    assert address_here() == "auto"


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    ("variables", "call"),
    [
        ({"RAY_ADDRESS": "127.0.0.1:1"}, "connect()"),
        ({"RAY_ADDRESS": "127.0.0.1:1"}, "connect(address=None)"),
        ({}, "connect(address='127.0.0.1:1')"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "t" * 32}, "connect(address='[::1]:1')"),
    ],
)
def test_an_address_at_which_nothing_listens_is_told_at_once(
    tmp_path: Path, variables: dict[str, str], call: str
) -> None:
    told = _told(call, HOME=str(tmp_path), **variables)
    assert told[0].endswith("nothing listens at LOCALHOST:1: Connection refused")
    assert "address= or RAY_ADDRESS" in told[1]


@pytest.mark.parametrize("address", ["auto", "local", "ray://head:10001", "head", ":80"])
def test_what_is_no_host_and_port_is_left_to_ray(address: str) -> None:
    require_listener(address)


def test_an_address_that_listens_is_let_through_and_one_that_cannot_be_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        require_listener(f"127.0.0.1:{server.getsockname()[1]}")
    with pytest.raises(UnreachableError, match="nothing listens at 127"):
        require_listener("127.0.0.1:99999")


def test_a_refusal_of_ray_has_the_word_token_in_its_message() -> None:
    error = RuntimeError("Failed to connect")
    assert "this script has no token" in str(_refused("h:1", has_token=False, error=error))
    assert "may be wrong" in str(_refused("h:1", has_token=True, error=error))
    assert "token" not in str(_refused("auto", has_token=False, error=error))


def _told(call: str, **variables: str) -> list[str]:
    """The last two lines of what a script says that joins Ray by a call."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
    script = subprocess.run(  # noqa: S603 # the calls are those of this file
        [sys.executable, "-c", f"import rillflow; rillflow.{call}"],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return script.stderr.splitlines()[-2:]
