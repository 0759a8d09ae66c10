"""Actors of a node that has died go to the others, where workers wait for them."""

from rillflow.actors.placing import MOST_STANDBY, other_places, standby_places


def test_actors_that_have_stopped_are_spread_over_the_other_nodes() -> None:
    stopped = {"e0": "a", "d0": "a", "e3": "a"}
    places = other_places(stopped, ["a", "b", "c"])
    assert "a" not in places.values()
    assert sorted(map(str, places.values())) in (["b", "b", "c"], ["b", "c", "c"])


def test_on_one_node_ray_chooses() -> None:
    assert other_places({"e0": "a"}, ["a"]) == {"e0": None}


def test_of_two_nodes_the_one_that_is_left_is_named() -> None:
    # Ray may take the other one for alive.
    assert other_places({"e0": "a", "d0": "a"}, ["b"]) == {"e0": "b", "d0": "b"}


def test_as_many_workers_wait_as_a_node_would_get_actors() -> None:
    assert standby_places(["a", "a", "b", "b"], ["a", "b"]) == ["a", "a", "b", "b"]
    assert standby_places(["a", "a", "b", "b", "c", "c"], ["a", "b", "c"]) == ["a", "b", "c"]


def test_no_more_wait_than_two_on_a_node_and_none_where_there_is_one() -> None:
    assert (
        standby_places(["a"] * 9 + ["b"], ["a", "b"]) == ["a"] * MOST_STANDBY + ["b"] * MOST_STANDBY
    )
    assert standby_places(["a", "a"], ["a"]) == []
    assert standby_places([], ["a", "b"]) == []
