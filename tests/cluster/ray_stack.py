"""A stack whose tasks call the functions of ``ray_functions.py`` and those of docs/ray.md."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.cluster.api import Api, Ended, Json
from tests.cluster.processes import LOOK_S, ROOT, OwnStack
from tests.cluster.ray_flows import calling
from tests.loopback import closed_port
from tests.spec.documented import blocks_of

FUNCTIONS: Final = Path(__file__).with_name("ray_functions.py")
PAGE: Final = (ROOT / "docs" / "ray.md").read_text(encoding="utf-8")
_KIT_PAGE: Final = (ROOT / "docs" / "functions.md").read_text(encoding="utf-8")
GREETINGS: Final = next(it.text for it in blocks_of(_KIT_PAGE) if it.info == "python")
[MODULE, FILM, VISION, RATING, JUDGE, PLAIN] = [
    block.text for block in blocks_of(PAGE) if block.info == "python"
]
[COMMAND, RUN, LOGS, JOINING] = [block.text for block in blocks_of(PAGE) if block.info == "bash"]
[ENVIRONMENTS] = re.findall(r"`RILLFLOW_RAY_RUNTIME_ENVS='(.*)'`", PAGE)
_ALL: Final = [block.text for block in blocks_of(PAGE) if block.info == "yaml"]
WORKFLOWS: Final = [text for text in _ALL if "num_gpus" not in text]
[GPU_WORKFLOW] = [text for text in _ALL if "num_gpus" in text]
AUTH_SECRET: Final = "what-signs-callback-addresses"
SECRET: Final = "a-secret-of-44-characters-that-nobody-knows"
WAIT_S: Final = 60.0


@contextmanager
def ray_stack(folder: Path) -> Iterator[OwnStack]:
    """Run a stack as the page says, with its data in a folder."""
    (folder / "pipeline.py").write_text(MODULE, encoding="utf-8")
    (folder / "film.py").write_text(FILM, encoding="utf-8")
    (folder / "rating.py").write_text(RATING, encoding="utf-8")
    (folder / "vision.py").write_text(VISION, encoding="utf-8")
    (folder / "greetings.py").write_text(GREETINGS, encoding="utf-8")
    (folder / "reel.yaml").write_text(WORKFLOWS[0], encoding="utf-8")
    (folder / "plain.py").write_text(PLAIN, encoding="utf-8")
    options = COMMAND.replace("pipeline.py", str(folder / "pipeline.py")).split()
    assert options[:2] == ["rillflow", "up"]
    own = OwnStack(
        folder / "data",
        closed_port(),
        *(*options[2:], "--functions", str(FUNCTIONS), "--functions", str(folder / "film.py")),
        *("--functions", str(folder / "rating.py"), "--functions", str(folder / "vision.py")),
        *("--functions", str(folder / "greetings.py")),
        RILLFLOW_SECRET_TOKEN=SECRET,
        RILLFLOW_AUTH_SECRET=AUTH_SECRET,
        OF_THE_USER="kept",
        RILLFLOW_RAY_SMALL_CALLS="2",
        RILLFLOW_RAY_RUNTIME_ENVS=json.dumps(
            {
                **json.loads(ENVIRONMENTS),
                "painted": {"env_vars": {"OF_THE_USER": "painted"}},
                "broken": {"working_dir": "https://127.0.0.1:9/none.zip?token=of-the-operator"},
            }
        ),
    )
    try:
        own.start()
        yield own
    finally:
        own.stop()


def flow(function: str, given: Json, **more: Json) -> str:
    """Return the definition of a task that calls a function."""
    return calling(f"ray://{function}", given, **more)


def run(api: Api, function: str, given: Json | None = None, **more: Json) -> Ended:
    """Run such a task to its end."""
    given = given or {}
    name = function if ":" in function else f"ray_functions:{function}"
    return api.end(api.submit(flow(name, given, **more), given), WAIT_S)


def failure(ended: Ended) -> Json:
    """Return what is kept of a task that has failed."""
    assert ended.status == "FAILED"
    return ended.task("call")["invoke_msg"]


def begun(file: Path) -> list[int]:
    """Wait until a function has begun, and return the processes of all calls."""
    give_up = time.monotonic() + WAIT_S
    while not file.exists() or not file.read_text(encoding="ascii"):
        assert time.monotonic() < give_up
        time.sleep(LOOK_S)
    return calls_in(file)


def calls_in(file: Path) -> list[int]:
    """Return the processes of all calls that were begun."""
    return list(map(int, file.read_text(encoding="ascii").split()))


def has_ended(pid: int, name: str) -> None:
    """Wait until a worker runs this function no longer, or is gone."""
    give_up = time.monotonic() + WAIT_S
    while _runs(pid, name):
        assert time.monotonic() < give_up, "the function goes on"
        time.sleep(LOOK_S)


def _runs(pid: int, name: str) -> bool:
    try:
        return name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False


def log_of(api: Api, execution_id: str) -> dict[str, str]:
    """Return what the function of such a task has printed, by stream."""
    body = api.ask("GET", "/flow/logs.json", execution_id=execution_id, task_name="call").body
    return {each["name"]: each["text"] for each in body["ret"].get("streams", [])}
