"""``make setup`` tells uv what pip is told, and commands keep what they have compiled."""

import os
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
MIRROR: Final = "https://mirror.example/simple"


def recipe(**environment: str) -> str:
    """Return the commands that ``make setup`` would run for a lock that has changed."""
    unset = {"UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL", "MAKEFLAGS", "MAKELEVEL"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    command = ["make", "--no-print-directory", "-n", "-W", "requirements.lock", "setup"]
    return subprocess.run(  # noqa: S603 - make, with arguments of our own
        command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=True
    ).stdout


def exported(name: str, **environment: str) -> str:
    """Return what a command of a recipe sees of a variable."""
    shown = f"shown: ; @printenv {name} || true"
    command = ["make", "--no-print-directory", "--eval", shown, "shown"]
    unset = {"SSL_CERT_FILE", "UV_INDEX", "MAKEFLAGS", "MAKELEVEL"}
    kept = {each: value for each, value in os.environ.items() if each not in unset}
    return subprocess.run(  # noqa: S603 - make, with arguments of our own
        command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_a_mirror_for_pip_is_one_for_uv() -> None:
    assert recipe(PIP_INDEX_URL=MIRROR).count(f"UV_DEFAULT_INDEX={MIRROR} .tools/uv-") == 2
    assert MIRROR not in recipe()


def test_a_mirror_for_uv_is_left_as_it_is() -> None:
    told = recipe(PIP_INDEX_URL=MIRROR, UV_DEFAULT_INDEX="https://other.example/simple")
    assert MIRROR not in told


def test_certificates_for_pip_are_those_of_uv() -> None:
    assert exported("SSL_CERT_FILE", PIP_CERT="/etc/company.pem") == "/etc/company.pem"
    assert exported("SSL_CERT_FILE", PIP_CERT="/a.pem", SSL_CERT_FILE="/b.pem") == "/b.pem"


def test_a_second_index_for_pip_is_one_for_uv() -> None:
    assert exported("UV_INDEX", PIP_EXTRA_INDEX_URL=MIRROR) == MIRROR


def test_what_is_compiled_is_kept() -> None:
    assert exported("PYTHONDONTWRITEBYTECODE", PYTHONDONTWRITEBYTECODE="1") == ""
