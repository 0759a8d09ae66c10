"""What a deployment on a cluster tells while it goes on, and what of Serve a stop ends."""

from ray.serve.schema import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatus,
    DeploymentStatusOverview,
    DeploymentStatusTrigger,
)

from serve.stack.cluster_control import not_running, own_applications


def test_the_status_of_an_application_is_told_in_the_words_of_serve() -> None:
    starting = ApplicationStatusOverview(
        status=ApplicationStatus.DEPLOYING, message="", last_deployed_time_s=0, deployments={}
    )
    assert not_running("rillflow", starting) == "the application rillflow is DEPLOYING"
    assert not_running("rillflow", None) == "the application rillflow is missing"


def test_a_stop_ends_what_tells_of_an_address_too_and_nothing_of_others() -> None:
    applications = {
        "mine": _running("rillflow-api"),
        "rillflow-callback-address": _running("callback-address"),
        "other-callback-address": _running("callback-address"),
        "theirs": _running("api"),
    }
    assert own_applications(applications, "rillflow") == ["mine", "rillflow-callback-address"]


def _running(deployment: str) -> ApplicationStatusOverview:
    found = DeploymentStatusOverview(
        status=DeploymentStatus.HEALTHY,
        status_trigger=DeploymentStatusTrigger.UNSPECIFIED,
        replica_states={},
        message="",
    )
    return ApplicationStatusOverview(
        status=ApplicationStatus.RUNNING,
        message="",
        last_deployed_time_s=0,
        deployments={deployment: found},
    )
