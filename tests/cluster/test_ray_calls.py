"""A task calls a named actor by ``ray-actor://`` and a Serve deployment by ``serve://``.

What the settings do not name is not called; what returns is the output, as that of a function is.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.cluster.api import Api, Ended, Json
from tests.cluster.processes import LOOK_S, OwnStack
from tests.cluster.ray_flows import calling, calls_at
from tests.cluster.ray_stack import JUDGE
from tests.loopback import closed_port

pytestmark = pytest.mark.cluster

SERVICES: Final = Path(__file__).with_name("ray_services.py")
WAIT_S: Final = 60.0


@pytest.fixture(name="results", scope="module")
def _results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the folder whose files may be returned by their paths."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture(name="api", scope="module")
def _api(tmp_path_factory: pytest.TempPathFactory, results: Path) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("calls")
    judge = folder / "judge.py"
    judge.write_text(JUDGE, encoding="utf-8")
    own = OwnStack(
        folder / "data",
        closed_port(),
        RILLFLOW_RAY_ACTORS="counter@models, missing, rillflow:execution:0",
        RILLFLOW_LIMIT_PER_HOST="3",
        RILLFLOW_SERVE_APPLICATIONS="scores, judge, missing",
        RILLFLOW_RAY_RESULT_FOLDERS=str(results),
    )
    own.start()
    try:
        subprocess.run(
            [sys.executable, str(SERVICES), own.ray_address, str(judge)],
            env=own.ray_environment,
            check=True,
            timeout=120,
        )
        with Api(own.base_url) as api:
            yield api
    finally:
        own.stop()


def _run(api: Api, resource: str, given: Json | None = None, **more: Json) -> Ended:
    given = given or {}
    return api.end(api.submit(calling(resource, given, **more), given), WAIT_S)


def _failure(ended: Ended) -> Json:
    assert ended.status == "FAILED"
    return ended.task("call")["invoke_msg"]


@pytest.mark.parametrize("pattern", ["task_sync", "task_async"])
@pytest.mark.parametrize(
    ("resource", "given", "output"),
    [
        ("ray-actor://counter@models/add", {"number": 0}, {"count": 0}),
        ("serve://scores", {"text": "sea"}, {"of": "sea", "score": 3.0}),
        ("serve://scores/Scorer", {"text": "sea"}, {"of": "sea", "score": 3.0}),
        ("serve://scores/Scorer/remote", {"text": "sea"}, {"data": "SEA"}),
        ("serve://scores/Scorer/best", {"texts": ["a", "bb"]}, {"data": "bb"}),
    ],
)
def test_what_is_called_returns_the_output(
    api: Api, pattern: str, resource: str, given: Json, output: Json
) -> None:
    ended = _run(api, resource, given, pattern=pattern)
    assert ended.status == "SUCCEED", ended.shown
    assert ended.context["output"] == output


def test_a_large_output_arrives_and_a_too_large_one_fails(api: Api) -> None:
    ended = _run(api, "ray-actor://counter@models/large", {"count": 1_000_000})
    assert ended.context["output"] == {"data": "x" * 1_000_000}
    told = _failure(_run(api, "ray-actor://counter@models/large", {"count": 11_000_000}))["msg"]
    assert "11000011 bytes of JSON, and 10485760 are allowed" in told


def test_an_exception_has_its_type_and_message(api: Api) -> None:
    invoke = _failure(_run(api, "ray-actor://counter@models/fail"))
    assert invoke["msg"] == "LookupError: nothing is there"
    assert invoke["output"]["error"]["type"] == "LookupError"


@pytest.mark.parametrize("is_raised", [False, True])
def test_what_cannot_be_read_is_a_failure_of_a_call_that_is_made_once(
    api: Api, tmp_path: Path, *, is_raised: bool
) -> None:
    text = "class Far: pass\nclass FarError(Exception): pass\n"
    (tmp_path / "only_of_the_actor.py").write_text(text, encoding="ascii")
    file = tmp_path / "calls"
    given = {"folder": str(tmp_path), "file": str(file), "is_raised": is_raised}
    invoke = _failure(_run(api, "ray-actor://counter@models/foreign", given))
    assert invoke["output"]["error"]["type"] == "FunctionResultError"
    assert "cannot be read outside of its process" in invoke["msg"]
    assert file.read_text(encoding="ascii") == "called\n"


@pytest.mark.parametrize(
    ("resource", "told"),
    [
        ("ray-actor://other/add", "the setting ray_actors does not allow the actor other"),
        ("ray-actor://counter/add", "the setting ray_actors does not allow the actor counter"),
        ("ray-actor://rillflow:execution:0/leave", "the setting ray_actors does not allow"),
        ("ray-actor://missing/add", "there is no actor missing@rillflow"),
        ("ray-actor://counter@models/none", "the actor counter has no method none"),
        ("ray-actor://counter@models", "'counter@models' names no method of an actor"),
        ("ray-actor://counter@models/_count", "names no method of an actor"),
        ("serve://rillflow", "the setting serve_applications does not allow the application rill"),
        ("serve://missing", "the application missing is not there"),
    ],
)
def test_what_is_not_allowed_or_not_there_fails_the_task(
    api: Api, resource: str, told: str
) -> None:
    assert told in _failure(_run(api, resource))["msg"]


def test_a_cancellation_reaches_the_method(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "state"
    given = {"file": str(file)}
    execution_id = api.submit(calling("ray-actor://counter@models/wait", given), given)
    _until(file, "waits")
    assert api.ask("POST", "/flow/cancel.json", execution_id=execution_id).status == 200
    _until(file, "cancelled")


def test_calls_of_an_actor_beyond_the_limit_wait_and_are_shown(api: Api, tmp_path: Path) -> None:
    given = {"file": str(tmp_path / "state")}
    flow = calling("ray-actor://counter@models/wait", given)
    ids = [api.submit(flow, given) for _ in range(5)]
    give_up = time.monotonic() + WAIT_S
    while calls_at(api, "ray-actor://counter@models") != (3, 2):
        assert time.monotonic() < give_up, calls_at(api, "ray-actor://counter@models")
        time.sleep(LOOK_S)
    assert _run(api, "serve://scores", {"text": "sea"}).status == "SUCCEED"
    for execution_id in ids:
        assert api.ask("POST", "/flow/cancel.json", execution_id=execution_id).status == 200


def test_a_result_that_takes_long_to_encode_does_not_hold_up_other_calls(
    api: Api, tmp_path: Path
) -> None:
    file = tmp_path / "state"
    given = {"file": str(file)}
    slow = api.submit(calling("ray-actor://counter@models/slow", given), given)
    _until(file, "encodes")
    assert _run(api, "serve://scores", {"text": "sea"}).status == "SUCCEED"
    assert api.get(slow)["dag_status"] == "RUNNING"
    Path(f"{file}.go").touch()
    assert api.end(slow, WAIT_S).context["output"] == {"data": [1]}


def _until(file: Path, text: str) -> None:
    give_up = time.monotonic() + WAIT_S
    while not file.exists() or file.read_text(encoding="ascii") != text:
        assert time.monotonic() < give_up
        time.sleep(LOOK_S)


# -- artifacts ------------------------------------------------------------------------------------


def test_artifacts_pass_from_an_actor_to_a_deployment(api: Api, tmp_path: Path) -> None:
    drawn = _run(api, "ray-actor://counter@models/draw", {"folder": str(tmp_path)})
    assert drawn.status == "SUCCEED", drawn.shown
    assert drawn.shown["artifacts"]["count"] == 3
    output = drawn.context["output"]
    assert output["frame"]["media_type"] == "application/x-npy"
    judged = _run(api, "serve://judge", {"frame": output["frame"]})
    assert judged.status == "SUCCEED", judged.shown
    assert judged.context["output"] == {"light": 0.2}
    assert judged.shown["artifacts"]["count"] == 1
    read = _run(api, "ray-actor://counter@models/measure", {"clips": output["clips"]})
    assert read.context["output"] == {"data": ["film.txt: a film", "a.webm: a clip"]}


def test_a_lost_artifact_fails_the_task_with_its_name(api: Api) -> None:
    clip = {"rillflow_artifact": "0" * 64, "bytes": 6, "media_type": "a/b", "name": "a.webm"}
    invoke = _failure(_run(api, "ray-actor://counter@models/measure", {"clips": [clip]}))
    assert invoke["output"]["error"]["type"] == "ArtifactLostError"
    assert "the artifact a.webm (000000000000) is gone" in invoke["msg"]


def test_a_deployment_returns_a_large_file_by_its_path_and_streams_bytes_into_one_artifact(
    api: Api, tmp_path: Path, results: Path
) -> None:
    given = {"file": str(results / "film.webm"), "size_bytes": 5_000_000}
    output = _run(api, "serve://scores/Scorer/film", given).context["output"]
    assert (output["name"], output["bytes"]) == ("film.webm", 5_000_000)
    elsewhere = given | {"file": str(tmp_path / "film.webm")}
    failed = _failure(_run(api, "serve://scores/Scorer/film", elsewhere))
    assert "is in no folder of the setting ray_result_folders" in failed["msg"]
    options = {"stream": True}
    ended = _run(api, "serve://scores/Scorer/frames", {"count": 12}, rayOptions=options)
    assert ended.context["output"]["bytes"] == len("01234567891011")


# -- streams and models ---------------------------------------------------------------------------


def test_a_stream_of_texts_is_one_text_and_its_end_is_the_progress(
    api: Api, tmp_path: Path
) -> None:
    file = tmp_path / "go"
    given = {"words": ["once", "upon", "a", "time"], "file": str(file)}
    text = calling("serve://scores/Scorer/tell", given, rayOptions={"stream": True})
    execution_id = api.submit(text, given)
    give_up = time.monotonic() + WAIT_S
    while "once upon a time" not in str(api.get(execution_id)):
        assert time.monotonic() < give_up
        time.sleep(LOOK_S)
    file.touch()
    ended = api.end(execution_id, WAIT_S)
    assert ended.status == "SUCCEED", ended.shown
    assert ended.context["output"] == {"data": "once upon a time "}


def test_a_stream_of_other_values_is_a_list(api: Api) -> None:
    options = {"stream": True}
    ended = _run(api, "serve://scores/Scorer/scores", {"count": 3}, rayOptions=options)
    assert ended.context["output"] == {"data": [{"score": 0}, {"score": 1}, {"score": 2}]}
    told = _failure(_run(api, "serve://scores/Scorer/scores", {"count": 0}, rayOptions=options))
    assert told["msg"] == "LookupError: nothing to score"


def test_an_endless_stream_ends_with_the_time_of_the_task(api: Api, tmp_path: Path) -> None:
    given = {"words": ["once"], "file": str(tmp_path / "never")}
    limits = {"rayOptions": {"stream": True}, "timeline": {"timeoutInSeconds": 2}}
    told = _failure(_run(api, "serve://scores/Scorer/tell", given, **limits))
    assert told["msg"] == "timeout"


def test_a_field_chooses_the_model(api: Api) -> None:
    given = {"text": "sea", "serve_multiplexed_model_id": "large"}
    ended = _run(api, "serve://scores/Scorer/model", given)
    assert ended.context["output"] == {"data": "large sea"}
    told = _failure(
        _run(api, "serve://scores/Scorer/model", given | {"serve_multiplexed_model_id": 5})
    )
    assert "serve_multiplexed_model_id is a text" in told["msg"]


def test_an_actor_that_dies_is_a_system_failure(api: Api) -> None:
    options = {"max_system_retries": 0}
    told = _failure(_run(api, "ray-actor://counter@models/die", rayOptions=options))["msg"]
    assert told.startswith("system failure: ")
