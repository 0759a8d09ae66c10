"""A deployment of one execution actor and one dispatcher, for tests to begin with."""

from typing import Final

from rillflow.ports.deployment import Deployment

FIRST: Final = Deployment(
    store_id="s",
    version=1,
    partition_map=1,
    settings_digest="a",
    code_version="1/1",
    execution_actors=1,
    dispatcher_actors=1,
)
