"""What a deployment on a cluster tells while it goes on."""

from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview

from serve.stack.cluster_control import not_running


def test_the_status_of_an_application_is_told_in_the_words_of_serve() -> None:
    starting = ApplicationStatusOverview(
        status=ApplicationStatus.DEPLOYING, message="", last_deployed_time_s=0, deployments={}
    )
    assert not_running("rillflow", starting) == "the application rillflow is DEPLOYING"
    assert not_running("rillflow", None) == "the application rillflow is missing"
