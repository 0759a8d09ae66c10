"""The wheel is enough: ``rillflow`` without Ray, and ``rillflow[server]`` with all that runs."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.cluster.processes import ROOT, OwnStack
from tests.loopback import closed_port

pytestmark = pytest.mark.cluster

MOST_MB: Final = 40
"""What the plain package and all that it needs may take on the disk, in 10^6 bytes."""
HELLO: Final = """workspace: wheel
dagName: hello
type: flow
tasks:
  - name: greet
    category: pass
    outputMappings: [{ source: $.context.name, target: $.context.greeted }]
"""
TESTING_KIT: Final = "from rillflow.testing import FakeOpenFaaS, Scenario; print('imported')"
CONNECT: Final = "import rillflow; rillflow.connect()"
COMPILE: Final = """
import compileall, importlib
from rillflow.private_apis.forking.start import PRELOADED
for module in ("ray.dashboard.agent", *PRELOADED):
    importlib.import_module(module)
compileall.compile_dir(importlib.import_module("ray.dashboard").__path__[0], quiet=1)
"""
"""What a start needs of a new environment. Otherwise several processes compile it at the same time,
and Ray waits 30 s for them."""


def run(*command: str | Path, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )


class Environment:
    """A virtual environment outside the repository with the wheel in it."""

    def __init__(self, folder: Path, wheel: Path, extra: str = "") -> None:
        self.folder = folder
        folder.mkdir()
        [uv] = ROOT.glob(".tools/uv-*/bin/uv")
        pins = folder / "pins.txt"
        pins.write_text(_versions_of_the_lock(), encoding="utf-8")
        _must(run(uv, "venv", "--python", sys.executable, folder / "venv", cwd=folder))
        self.python = folder / "venv" / "bin" / "python"
        command = (uv, "pip", "install", "--python", self.python, "--constraint", pins)
        _must(run(*command, f"{wheel}{extra}", cwd=folder))

    def rillflow(self, *arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return run(self.folder / "venv" / "bin" / "rillflow", *arguments, cwd=self.folder)

    def size_mb(self) -> float:
        files = (self.folder / "venv" / "lib").rglob("*")
        sizes = [file.stat().st_size for file in files if "__pycache__" not in file.parts]
        return sum(sizes) / 1e6


def _versions_of_the_lock() -> str:
    """Return the lock without its hashes, which the wheel under test has none of."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return "\n".join(line.rstrip("\\ ") for line in lines if line[:1].isalnum())


def _must(done: "subprocess.CompletedProcess[str]") -> "subprocess.CompletedProcess[str]":
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = (sys.executable, "-m", "hatchling", "build", "-t", "wheel")
    _must(run(*build, "-d", folder, cwd=ROOT))
    [built] = folder.glob("rillflow-*.whl")
    return built


@pytest.fixture(scope="module")
def plain(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("plain") / "environment", wheel)


@pytest.fixture(scope="module")
def server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("server") / "environment", wheel, "[server]")


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    file = tmp_path / "hello.yaml"
    file.write_text(HELLO, encoding="utf-8")
    return file


def test_the_plain_package_has_no_ray_and_is_small(plain: Environment) -> None:
    found = run(plain.python, "-c", "import ray", cwd=plain.folder)
    assert "No module named 'ray'" in found.stderr
    assert plain.size_mb() < MOST_MB


def test_the_plain_package_validates_and_has_the_testing_kit(
    plain: Environment, hello: Path
) -> None:
    assert "validate" in _must(plain.rillflow("--help")).stdout
    _must(plain.rillflow("validate", "--strict", hello))
    broken = hello.with_name("broken.yaml")
    broken.write_text(HELLO.replace("category: pass", "category: nonsense"), encoding="utf-8")
    refused = plain.rillflow("validate", broken)
    assert refused.returncode == 1
    assert "broken.yaml:6:15: error 30402: category nonsense is unknown" in refused.stderr
    assert _must(run(plain.python, "-c", TESTING_KIT, cwd=plain.folder)).stdout == "imported\n"


@pytest.mark.parametrize("command", ["up", "db status --store postgresql://127.0.0.1:1/none"])
def test_what_needs_the_server_says_what_to_install(plain: Environment, command: str) -> None:
    refused = plain.rillflow(*command.split())
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "pip install 'rillflow[server]'" in refused.stderr


def test_joining_a_ray_cluster_says_what_to_install(plain: Environment) -> None:
    refused = run(plain.python, "-c", CONNECT, cwd=plain.folder)
    assert "pip install 'rillflow[server]'" in refused.stderr


@pytest.fixture
def installed(server: Environment, tmp_path: Path) -> Iterator[OwnStack]:
    own = OwnStack(tmp_path / "data", closed_port())
    own.use_installation(server.python, tmp_path)
    _must(run(server.python, "-c", COMPILE, cwd=tmp_path))
    own.start()
    yield own
    own.stop()


@pytest.mark.long
def test_the_server_runs_a_workflow(server: Environment, installed: OwnStack, hello: Path) -> None:
    url = ("--url", installed.base_url)
    _must(server.rillflow("validate", hello))
    _must(server.rillflow("add", hello, *url))
    submitted = _must(
        server.rillflow("submit", "wheel:hello", "--data", '{"name": "Bob"}', "--wait", *url)
    )
    assert '"greeted": "Bob"' in submitted.stdout
    page = httpx.get(f"{installed.base_url}/console").raise_for_status().text
    scripts = re.findall(r'src="\./(console/files/[^"]+\.js)"', page)
    assert scripts
    for script in scripts:
        sent = httpx.get(f"{installed.base_url}/{script}").raise_for_status()
        built = ROOT / "serve" / "static" / script
        assert sent.content == built.read_bytes()
