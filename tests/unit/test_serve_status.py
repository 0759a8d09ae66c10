"""Serve's status has no place for what an application has to say while all its replicas run.

docs/decisions/processes/serve-status.md says what follows from that.
"""

import dataclasses
import inspect

from ray.serve._private.deployment_state import DeploymentState
from ray.serve.schema import ApplicationStatusOverview, DeploymentStatusOverview


def test_serve_tells_what_it_has_found_itself_and_has_no_field_for_an_application() -> None:
    told = [
        {each.name for each in dataclasses.fields(overview)}
        for overview in (ApplicationStatusOverview, DeploymentStatusOverview)
    ]
    assert told == [
        {"status", "message", "last_deployed_time_s", "deployments"},
        {"status", "status_trigger", "replica_states", "message"},
    ]


def test_the_text_of_a_failed_health_check_is_that_of_serve() -> None:
    marks = DeploymentState._stop_replica_mark_unhealthy_if_target_version
    after = inspect.getsource(marks).partition("HEALTH_CHECK_FAILED")[2]
    text = after.partition("message=")[2].partition(")")[0]
    assert text.startswith('"A replica\'s health check failed. This "')
    assert "{" not in text, "nothing of what was raised is in it"
