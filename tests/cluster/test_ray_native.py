"""``make demo-ray`` runs functions over HTTP, on Ray and in Serve, and saves a film."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import av
import pytest

from tests.cluster.processes import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.long]

DEMO: Final = ROOT / "examples" / "ray-native" / "film_demo.py"
WAIT_S: Final = 240


def test_the_demo_makes_a_film_that_plays(tmp_path: Path) -> None:
    command = [sys.executable, str(DEMO), "--topic", "tea", "--video-dir", str(tmp_path)]
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=WAIT_S, check=False, cwd=ROOT
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "the execution ended: SUCCEED" in ended.stdout
    assert "'Tea, seen from far away' has the frames [" in ended.stdout
    with av.open(str(tmp_path / "ray-native.webm"), "r") as played:
        assert len(list(played.decode(video=0))) == 6
