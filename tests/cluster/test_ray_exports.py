"""However many logs are read, and executions run, Ray keeps no more functions and classes."""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.cluster.api import Api
from tests.cluster.processes import OwnStack, RayDriver
from tests.cluster.ray_stack import flow, log_of, ray_stack, run

pytestmark = pytest.mark.cluster

TIMES: Final = 5


@pytest.fixture(name="own", scope="module")
def _own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    with ray_stack(tmp_path_factory.mktemp("ray")) as own:
        yield own


@pytest.fixture(name="api", scope="module")
def _api(own: OwnStack) -> Iterator[Api]:
    with Api(own.base_url) as api:
        yield api


@pytest.fixture(name="driver", scope="module")
def _driver(own: OwnStack) -> Iterator[RayDriver]:
    driver = RayDriver(own.ray_address)
    yield driver
    driver.close()


def test_reading_a_log_again_leaves_nothing_in_ray(api: Api, driver: RayDriver) -> None:
    execution_id = run(api, "prints", {"text": "once"}).execution_id
    found = log_of(api, execution_id)
    assert found["out"] == "once \n"
    before = driver.exports()
    assert [log_of(api, execution_id) for _ in range(TIMES)] == [found] * TIMES
    assert driver.exports() == before


def test_reading_a_log_of_another_node_again_leaves_nothing_in_ray(driver: RayDriver) -> None:
    texts, grown, said = driver.read_logs(TIMES)
    assert texts == ["printed\n"] * TIMES
    assert grown == 0
    assert said == "the node of the log cannot be reached"


def test_dedicated_executions_leave_no_classes_in_ray(api: Api, driver: RayDriver) -> None:
    text = flow("ray_functions:says", {"text": "said", "seconds": 0})

    def run_alone() -> str:
        given = {"text": "said", "seconds": 0}
        return api.end(api.submit(text, given, isolation="dedicated")).status

    assert run_alone() == "SUCCEED"
    before = driver.exports()
    assert [run_alone() for _ in range(TIMES)] == ["SUCCEED"] * TIMES
    assert driver.exports() == before
