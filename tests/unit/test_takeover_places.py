"""Actors of a node that has died go to the others."""

from rillflow.actors.placing import other_places


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
