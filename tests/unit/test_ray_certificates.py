"""The certificate of a stack's Ray: who makes it, what is in it, and who finds it."""

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from rillflow.client.ray_transport.encryption import is_encrypted, use_certificate
from rillflow.errors import StackError, UnreachableError
from rillflow.ray_certificates import (
    AUTHORITY_KEY,
    CERTIFICATE,
    FOLDER,
    KEY,
    RUN_ROOT,
    is_of_run,
    note_port,
    variables,
    variables_for,
)
from rillflow.settings import Settings
from serve.stack.certificates import LOOPBACK, Authority
from serve.stack.ray_tls import RayTls

SETTINGS_FRAME = b"\0\0\0\4\0\0\0\0\0"


@pytest.fixture(name="issued")
def _issued(tmp_path: Path) -> Path:
    folder = tmp_path / "issued"
    folder.mkdir()
    Authority.new().issue(folder, LOOPBACK)
    return folder


def run_of(root: Path, port: int, name: str = "rf-abc") -> Path:
    """Make the folder of a run that has a certificate for the Ray at a port."""
    folder = root / name / FOLDER
    folder.mkdir(parents=True)
    (root / name).chmod(0o700)
    note_port(folder, f"LOCALHOST:{port}")
    return folder


@pytest.mark.parametrize("host", LOOPBACK)
def test_both_ends_show_a_certificate_that_the_strictest_check_accepts(
    issued: Path, host: str
) -> None:
    assert handshake(context(issued, server=True), context(issued), host)


def test_a_certificate_of_another_authority_and_another_name_are_refused(
    issued: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Authority.new().issue(other, LOOPBACK)
    assert not handshake(context(issued, server=True), context(other), "127.0.0.1")
    assert not handshake(context(issued, server=True), context(issued), "192.0.2.2")


def test_what_one_authority_issues_for_each_node_fits_together(tmp_path: Path) -> None:
    authority = Authority.new()
    authority.write(tmp_path)
    assert (tmp_path / AUTHORITY_KEY).stat().st_mode & 0o777 == 0o600
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        Authority.read(tmp_path).issue(tmp_path / name, ["192.0.2.2", "head.example"])
    server, client = context(tmp_path / "first", server=True), context(tmp_path / "second")
    assert handshake(server, client, "192.0.2.2")
    assert handshake(server, client, "head.example")


def test_a_key_of_another_kind_is_no_authority(tmp_path: Path) -> None:
    Authority.new().write(tmp_path)
    (tmp_path / AUTHORITY_KEY).write_text("none")
    with pytest.raises(ValueError, match="PEM"):
        Authority.read(tmp_path)


def test_a_stack_makes_one_whose_authority_is_gone(tmp_path: Path) -> None:
    environment: dict[str, str] = {}
    tls = RayTls(Settings(), tmp_path, environment)
    tls.wait()
    folder = tmp_path / FOLDER
    assert environment == variables(folder)
    assert {each.name for each in folder.iterdir()} == {"ca.pem", CERTIFICATE, KEY}
    assert {each.stat().st_mode & 0o777 for each in folder.iterdir()} == {0o600}
    assert handshake(context(folder, server=True), context(folder), "127.0.0.1")
    assert tls.environment("LOCALHOST:7")["RAY_ADDRESS"] == "LOCALHOST:7"
    assert (folder / "port").read_text() == "7"


@pytest.mark.parametrize("given", [{"RAY_USE_TLS": "1"}, {"RAY_USE_TLS": "0"}])
def test_what_an_operator_has_set_counts(tmp_path: Path, given: dict[str, str]) -> None:
    environment = dict(given)
    tls = RayTls(Settings(), tmp_path, environment)
    tls.wait()
    assert environment == given
    assert not (tmp_path / FOLDER).exists()
    assert tls.environment("a:1") == {"RAY_ADDRESS": "a:1", "RAY_AUTH_MODE": "token"}


def test_a_stack_that_another_one_has_started_does_not_take_its_certificate(tmp_path: Path) -> None:
    of_other = variables(RUN_ROOT / "rf-other" / FOLDER)
    off = Settings.model_construct(ray_tls=False)
    environment = dict(of_other)
    RayTls(off, tmp_path, environment).wait()
    assert environment == {}
    environment = dict(of_other)
    RayTls(Settings(), tmp_path, environment).wait()
    assert environment == variables(tmp_path / FOLDER)


def test_a_certificate_that_cannot_be_made_is_told_with_the_setting(tmp_path: Path) -> None:
    tls = RayTls(Settings(), tmp_path, {}, str(tmp_path / "missing.py"))
    with pytest.raises(StackError, match=r"No such file.*RILLFLOW_RAY_TLS=false"):
        tls.wait()


def test_scripts_find_the_certificate_of_their_users_run_by_its_port(tmp_path: Path) -> None:
    folder = run_of(tmp_path, 6001)
    run_of(tmp_path, 6002, "rf-other")
    (tmp_path / "rf-file").touch()
    for host in ("LOCALHOST", "127.0.0.1", "localhost", "[::1]"):
        assert variables_for(f"{host}:6001", tmp_path) == variables(folder)
    for address in ("LOCALHOST:6003", "192.0.2.2:6001", "auto", "ray://LOCALHOST:6001"):
        assert variables_for(address, tmp_path) == {}
    assert is_of_run(variables(folder), tmp_path)
    assert not is_of_run({"RAY_USE_TLS": "1", "RAY_TLS_CA_CERT": "/etc/ray/ca.pem"}, tmp_path)
    assert not is_of_run(variables(tmp_path / "operators" / FOLDER), tmp_path)


def test_a_folder_that_others_can_enter_or_have_made_is_not_believed(tmp_path: Path) -> None:
    folder = run_of(tmp_path, 6001)
    folder.parent.chmod(0o711)
    assert variables_for("LOCALHOST:6001", tmp_path) == {}
    folder.parent.chmod(0o700)
    user = folder.stat().st_uid
    assert variables_for("LOCALHOST:6001", tmp_path, user)
    assert variables_for("LOCALHOST:6001", tmp_path, user + 1) == {}
    folder.parent.rename(tmp_path / "moved")
    (tmp_path / "rf-link").symlink_to(tmp_path / "moved")
    assert variables_for("LOCALHOST:6001", tmp_path, user) == {}


def test_a_script_without_the_certificate_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, issued: Path
) -> None:
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    with encrypting(context(issued, server=True)) as address:
        assert is_encrypted(address)
        with pytest.raises(UnreachableError, match="no certificate for it") as told:
            use_certificate(address)
    assert "RAY_TLS_SERVER_CERT" in told.value.hint
    monkeypatch.setenv("RAY_USE_TLS", "1")
    use_certificate(address)


def test_a_ray_that_does_not_encrypt_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not is_encrypted(f"127.0.0.1:{silent.getsockname()[1]}", patience_s=0.1)
    with answering(SETTINGS_FRAME) as address:
        assert not is_encrypted(address)
        use_certificate(address)
    assert not is_encrypted("127.0.0.1:1")
    assert not is_encrypted("auto")


def test_the_certificate_of_a_ray_that_was_joined_before_is_not_shown_to_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, text in variables(RUN_ROOT / "rf-before" / FOLDER).items():
        monkeypatch.setenv(name, text)
    with answering(SETTINGS_FRAME) as address:
        use_certificate(address)
    assert os.environ["RAY_USE_TLS"] == "0"


def context(folder: Path, *, server: bool = False) -> ssl.SSLContext:
    purpose = ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH
    made = ssl.create_default_context(purpose, cafile=folder / "ca.pem")
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    made.load_cert_chain(folder / CERTIFICATE, folder / KEY)
    return made


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> bool:
    """Have both ends greet each other in memory; tell whether both accept."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server, server_hostname=host)
    answering_end = server.wrap_bio(to_server, to_client, server_side=True)
    left = [asking, answering_end, asking, answering_end]
    while left:
        end = left.pop(0)
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            if len(left) == 0:
                return False
        except ssl.SSLError:
            return False
    return True


@contextmanager
def encrypting(accepted: ssl.SSLContext) -> Iterator[str]:
    """Run a server that ends connections that are not encrypted."""

    def serve(line: socket.socket) -> None:
        try:
            accepted.wrap_socket(line, server_side=True).close()
        except OSError:
            line.close()

    with _serving(serve) as address:
        yield address


@contextmanager
def answering(content: bytes) -> Iterator[str]:
    """Run a server that says something to each connection."""

    def serve(line: socket.socket) -> None:
        line.sendall(content)
        line.recv(1024)
        line.close()

    with _serving(serve) as address:
        yield address


@contextmanager
def _serving(serve: object) -> Iterator[str]:
    assert callable(serve)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    line, _ = listener.accept()
                except OSError:
                    return
                serve(line)

        Thread(target=accept, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
