"""A failure of Ray is told as what it is, and repeated only where another try may end otherwise."""

import pytest
from ray import exceptions

from rillflow.ray_tasks.system_failures import reason_for_the_log, system_failure


class OutOfMemoryActorError(exceptions.ActorDiedError):  # type: ignore[misc] # Ray has no types
    """What Ray says of an actor that its node has killed; only Ray can make one."""

    def __str__(self) -> str:
        return "The actor died because its node was running low on memory."


@pytest.mark.parametrize(
    ("error", "text", "is_passing"),
    [
        (exceptions.OutOfMemoryError("task killed"), "the node ran out of memory", True),
        (OutOfMemoryActorError(), "the node ran out of memory", True),
        (exceptions.ActorDiedError(), "the process or node of the actor was lost", True),
        (exceptions.NodeDiedError("gone"), "the node of the worker was lost", True),
        (exceptions.WorkerCrashedError(), "the process of the worker died", True),
        (
            exceptions.RuntimeEnvSetupError("pip: no such package"),
            "the runtime environment could not be set up; the log has the reason",
            False,
        ),
        (exceptions.TaskUnschedulableError("no node"), "no node can run the task", False),
        (exceptions.ActorUnschedulableError("no node"), "no node can run the actor", False),
        (exceptions.ActorUnavailableError("away", None), "the process of the actor", True),
        (exceptions.ObjectStoreFullError("full"), "the object store of the node is full", True),
        (exceptions.RaySystemError("no module"), "a failure of Ray: System error: no mod", False),
        (exceptions.UnserializableException("no"), "a failure of Ray: ", False),
        (exceptions.TaskCancelledError(), "the Ray task was cancelled outside of", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_each_failure_has_its_words(
    error: exceptions.RayError, text: str, *, is_passing: bool
) -> None:
    failure = system_failure(error)
    assert failure.text.startswith(text)
    assert failure.is_passing is is_passing
    assert len(failure.text) < 700


def test_credentials_of_a_runtime_environment_are_neither_told_nor_logged() -> None:
    address = "https://me:password@store/files.zip?token=of-the-operator"
    error = exceptions.RuntimeEnvSetupError(
        f"Failed to download {address}\nMax retries exceeded with url: /files.zip?token=of-the-oper"
    )
    assert "of-the-oper" not in system_failure(error).text
    logged = reason_for_the_log(error)
    assert logged.endswith("with url: /files.zip?***")
    assert "https://***@store/files.zip?***\n" in logged
    assert len(reason_for_the_log(exceptions.RuntimeEnvSetupError("?" * 1_000_000))) <= 900
