"""Which actor moves where: moves make things even, and come to an end."""

from collections import Counter
from collections.abc import Collection, Sequence

from hypothesis import given
from hypothesis import strategies as st

from rillflow.runtime.supervision.rebalancing import Move, next_move

NODES = ("n1", "n2", "n3")
Kinds = Sequence[dict[str, str]]


def _settled(kinds: Kinds, nodes: Collection[str]) -> int:
    """Make moves until there are none, and count them."""
    moves = 0
    while (move := next_move(kinds, nodes)) is not None:
        for places in kinds:
            if move.actor in places:
                assert places[move.actor] != move.node
                places[move.actor] = move.node
        moves += 1
        assert moves <= sum(map(len, kinds)), "moves do not come to an end"
    return moves


def test_a_new_node_gets_an_actor_when_another_has_two_more() -> None:
    assert next_move([{"a": "n1", "b": "n1"}], ["n1", "n2"]) == Move("b", "n2")


def test_one_actor_more_is_no_reason_to_move() -> None:
    assert next_move([{"a": "n1"}, {"d": "n1"}], ["n1", "n2"]) is None
    assert next_move([{"a": "n1", "b": "n2"}], ["n1", "n2", "n3"]) is None


def test_a_node_that_goes_gives_its_actors_away_first() -> None:
    places = {"a": "n1", "b": "n1", "c": "n1", "d": "old"}
    assert next_move([places], ["n1", "n2"]) == Move("d", "n2")


def test_of_two_empty_nodes_the_one_with_fewer_actors_of_other_kinds_is_taken() -> None:
    owners, dispatchers = {"a": "n1", "b": "n1"}, {"d": "n2"}
    assert next_move([owners, dispatchers], NODES) == Move("b", "n3")


def test_who_stays_does_not_move_and_another_does() -> None:
    places = {"a": "n1", "b": "n1", "c": "n1"}
    assert next_move([places], ["n1", "n2"], stays={"c"}) == Move("b", "n2")
    assert next_move([places], ["n1", "n2"], stays=places) is None


def test_nothing_moves_where_there_is_no_node() -> None:
    assert next_move([{"a": "n1"}], []) is None


@given(
    st.lists(st.sampled_from((*NODES, "gone")), max_size=12),
    st.lists(st.sampled_from((*NODES, "gone")), max_size=6),
)
def test_moves_end_and_leave_every_node_its_share(owners: list[str], others: list[str]) -> None:
    kinds = [
        {f"{kind}{number:02}": node for number, node in enumerate(nodes)}
        for kind, nodes in (("owner", owners), ("dispatcher", others))
    ]
    _settled(kinds, NODES)
    for places in kinds:
        held = Counter(dict.fromkeys(NODES, 0) | Counter(places.values()))
        assert set(held) == set(NODES)
        assert max(held.values()) - min(held.values()) <= 1
