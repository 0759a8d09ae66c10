"""Executions in the store are counted for the execution actor whose partitions they are in."""

from rillflow.actors.cluster import stored_by_owner


def test_each_partition_counts_for_the_actor_that_owns_it() -> None:
    found = stored_by_owner({0: 1, 1: 10, 2: 100, 5: 1000}, 2)
    assert found == {"rillflow:execution:0": 101, "rillflow:execution:1": 1010}


def test_an_actor_without_unfinished_executions_has_none() -> None:
    assert stored_by_owner({}, 1) == {"rillflow:execution:0": 0}
