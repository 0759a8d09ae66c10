"""Files of TLS are checked at the start, each with an error that says what is wrong with which."""

from pathlib import Path
from typing import Any

import pytest

from rillflow.actors.dispatcher_actor import http_settings
from rillflow.cli.doctor import configuration
from rillflow.errors import StackError
from rillflow.gateways.http_client.tls_files import why_unusable
from rillflow.gateways.outbound.settings import TlsFiles
from rillflow.settings import Settings
from rillflow.tls_settings import with_own
from serve.stack.ray_environment import front_program
from serve.stack.tls import refuse_unusable
from tests.certificates import HOUR, Pair, certificate


@pytest.fixture(name="pair")
def _pair(tmp_path: Path) -> Pair:
    return certificate(tmp_path)


def test_a_certificate_with_its_key_is_fine(pair: Pair) -> None:
    assert why_unusable(pair.certificate, pair.key) == ""


def test_both_may_be_in_one_file(tmp_path: Path, pair: Pair) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    both.chmod(0o600)
    assert why_unusable(both, None) == ""


def test_a_certificate_that_another_one_has_issued_is_fine(tmp_path: Path, pair: Pair) -> None:
    leaf = certificate(tmp_path, "leaf", issuer=pair)
    assert why_unusable(leaf.certificate, leaf.key) == ""


def test_a_file_that_is_missing_is_named(tmp_path: Path, pair: Pair) -> None:
    gone = tmp_path / "gone.pem"
    assert why_unusable(gone, pair.key) == f"{gone} cannot be read: No such file or directory"
    assert why_unusable(pair.certificate, gone).startswith(f"{gone} cannot be read")
    assert "cannot be read: Is a directory" in why_unusable(tmp_path, pair.key)


def test_a_key_of_another_certificate_is_told(tmp_path: Path, pair: Pair) -> None:
    other = certificate(tmp_path / "other")
    why = why_unusable(pair.certificate, other.key)
    assert why == f"the key in {other.key} is not that of the certificate in {pair.certificate}"


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_without_a_key_is_told(pair: Pair, mode: int) -> None:
    pair.certificate.chmod(mode)
    why = f"{pair.certificate} has no key in it: name the file that has, as tls_key (--tls-key)"
    assert why_unusable(pair.certificate, None) == why


def test_a_file_of_something_else_is_told(tmp_path: Path, pair: Pair) -> None:
    text = tmp_path / "text.pem"
    text.write_text("-----BEGIN CERTIFICATE-----\nnothing\n", encoding="ascii")
    assert "no certificate with its key" in why_unusable(text, pair.key)


@pytest.mark.parametrize(
    ("times", "why"),
    [
        ({"begins": -2 * HOUR, "ends": -HOUR}, "certificate has expired"),
        ({"begins": HOUR, "ends": 2 * HOUR}, "certificate is not yet valid"),
    ],
)
def test_a_certificate_is_valid_now(tmp_path: Path, times: dict[str, Any], why: str) -> None:
    pair = certificate(tmp_path, **times)
    assert why in why_unusable(pair.certificate, pair.key)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602])
def test_a_key_that_others_may_read_is_refused(pair: Pair, mode: int) -> None:
    pair.key.chmod(mode)
    assert why_unusable(pair.certificate, pair.key).endswith(f"chmod 600 {pair.key}")


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    pair = certificate(tmp_path, password=b"secret")
    assert "needs a password" in why_unusable(pair.certificate, pair.key)


def test_the_start_of_a_stack_names_the_setting(tmp_path: Path, pair: Pair) -> None:
    refuse_unusable(Settings(tls_cert=pair.certificate, tls_key=pair.key))
    with pytest.raises(StackError, match=r"tls_cert and tls_key: .*gone cannot be read"):
        refuse_unusable(Settings(tls_cert=tmp_path / "gone"))
    with pytest.raises(StackError, match=r"gateway_tls of gw:1: .*gone: No such file"):
        refuse_unusable(Settings(gateway_tls={"gw:1": {"ca": tmp_path / "gone"}}))
    pair.key.chmod(0o644)
    files = {"certificate": pair.certificate, "key": pair.key}
    with pytest.raises(StackError, match="others may read"):
        refuse_unusable(Settings(gateway_tls={"gw": files}))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"tls_key": "a"}, "tls_key needs tls_cert"),
        ({"gateway_tls": {"gw": {"key": "a"}}}, "a key needs its certificate"),
        ({"gateway_tls": {"gw": {"cert": "a"}}}, "there is no cert"),
        ({"gateway_tls": {"https://gw": {}}}, "no host or host:port"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Settings(**settings)


def test_functions_are_told_to_call_back_by_https(pair: Pair) -> None:
    settings = Settings(tls_cert=pair.certificate, port=8443)
    assert settings.callback_base_url == "https://127.0.0.1:8443"
    assert http_settings(settings).server_host == "https://127.0.0.1:8443"


def test_the_own_certificate_is_trusted_at_the_own_address_only(pair: Pair) -> None:
    settings = Settings(tls_cert=pair.certificate, gateway_tls={"gw": {"ca": "/ca.pem"}})
    own = TlsFiles(ca=str(pair.certificate))
    assert with_own(settings) == {"gw": TlsFiles(ca="/ca.pem"), "127.0.0.1": own}
    assert http_settings(settings).tls_by_host == {"gw": TlsFiles(ca="/ca.pem")}


def test_the_front_finds_the_key_beside_the_certificate(tmp_path: Path, pair: Pair) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    program = front_program(
        run_dir, "/bin/true", Settings(tls_cert=pair.certificate, tls_key=pair.key)
    )
    linked = run_dir / "front.pem"
    assert str(linked) in program.read_text(encoding="utf-8")
    assert linked.resolve() == pair.certificate.resolve()
    assert (run_dir / "front.pem.key").resolve() == pair.key.resolve()


def test_the_doctor_looks_at_the_files(pair: Pair) -> None:
    settings = Settings(tls_cert=pair.certificate, tls_key=pair.key)
    [soon] = configuration.tls(settings)
    assert (soon.state, "renew it" in soon.remedy) == ("warning", True)
    assert "valid for 1 days" in soon.message
    pair.key.chmod(0o644)
    [wrong] = configuration.tls(settings)
    assert (wrong.state, "chmod 600" in wrong.message) == ("error", True)
