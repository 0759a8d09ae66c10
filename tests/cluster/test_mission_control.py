"""Flow control runs through Serve as the workflow's author wrote it: which tasks run,
how often, how many at once, and what they see."""

from typing import Final

import pytest

from tests.cluster.api import Api, Functions

pytestmark = pytest.mark.cluster

SWITCH: Final = """
workspace: mission
dagName: switching
type: flow
tasks:
  - name: gauge
    category: switch
    inputMappings: [{ source: $.context.level, target: $.input.level }]
    switches:
      - { condition: "$.input.[?(@.level > 8)]", next: alarm, break: true }
      - { condition: "$.input.[?(@.level > 4)]", next: "note, log" }
      - { condition: default, next: rest }
  - { name: alarm, category: pass, outputMappings: [{ source: "yes", target: $.context.alarm }] }
  - { name: note, category: pass, outputMappings: [{ source: "yes", target: $.context.note }] }
  - { name: log, category: pass, outputMappings: [{ source: "yes", target: $.context.log }] }
  - { name: rest, category: pass, outputMappings: [{ source: "yes", target: $.context.rest }] }
"""


@pytest.mark.parametrize(
    ("level", "taken"),
    [(9, {"alarm"}), (5, {"note", "log"}), (1, {"rest"})],
    ids=["break", "several", "default"],
)
def test_a_switch_runs_what_its_true_entries_name_and_skips_the_rest(
    api: Api, level: int, taken: set[str]
) -> None:
    ended = api.run(SWITCH, {"level": level})
    statuses = ended.task_statuses()
    assert ended.status == "SUCCEED"
    assert statuses.pop("gauge") == "SUCCEEDED"
    assert {name for name, status in statuses.items() if status == "SUCCEEDED"} == taken
    assert {status for name, status in statuses.items() if name not in taken} == {"SKIPPED"}
    assert {name for name in statuses if ended.context.get(name) == "yes"} == taken


CHOICE: Final = """
workspace: mission
dagName: choosing
type: flow
tasks:
  - name: choose
    category: choice
    inputMappings: [{ source: $.context.n, target: $.input.n }]
    outputMappings:
      - { source: $.output.square, target: $.context.square }
      - { source: $.output.sign, target: $.context.sign }
    choices:
      - condition: $.input.[?(@.n > 1)]
        tasks:
          - name: square
            category: function
            pattern: task_sync
            resourceName: FUNCTIONS/answer
            inputMappings:
              - { source: $.context.n, target: $.input.n }
              - { source: '[{"json": {"square": 49}}]', target: $.input.replies }
            outputMappings: [{ source: $.output.square, target: $.context.square }]
      - condition: $.input.[?(@.n > 0)]
        tasks:
          - name: plus
            category: pass
            outputMappings: [{ source: plus, target: $.context.sign }]
      - condition: $.input.[?(@.n < 0)]
        tasks:
          - name: minus
            category: pass
            outputMappings: [{ source: minus, target: $.context.sign }]
"""


def test_a_choice_runs_every_branch_whose_condition_holds_on_a_copy_of_its_input(
    api: Api, functions: Functions
) -> None:
    ended = api.run(CHOICE.replace("FUNCTIONS", functions.url), {"n": 7})
    # Branches are numbered in the order of their conditions' text.
    assert ended.task("choose")["sub_group_index_to_status"] == {
        "0": "SKIPPED",
        "1": "SUCCEED",
        "2": "SUCCEED",
    }
    assert (ended.context["square"], ended.context["sign"]) == (49, "plus")
    [call] = functions.calls(ended.execution_id)
    assert call["task"] == "choose_2-square"


def test_a_choice_without_a_true_branch_succeeds_and_runs_nothing(
    api: Api, functions: Functions
) -> None:
    ended = api.run(CHOICE.replace("FUNCTIONS", functions.url), {"n": 0})
    assert ended.status == "SUCCEED"
    assert set(ended.task("choose")["sub_group_index_to_status"].values()) == {"SKIPPED"}
    assert not functions.calls(ended.execution_id)


FOREACH: Final = """
workspace: mission
dagName: looping
type: flow
tasks:
  - name: loop
    category: foreach
    inputMappings:
      - { source: $.context.words, target: $.input.words }
      - { source: $.context.prefix, target: $.input.prefix }
      - { source: $.context.limit, target: $.input.limit }
    iterationMapping:
      { collection: $.input.words, item: word, index: number, identity: $.iteration.element.id }
    synchronization:
      conditions: ["$.input.[?(@.limit > 0)]"]
      maxConcurrency: $.input.limit
    outputMappings: [{ source: "$.output.sub_context.[*].result", target: $.context.results }]
    tasks:
      - name: visit
        category: function
        pattern: task_sync
        resourceName: FUNCTIONS/meet/COUNT
        inputMappings: [{ source: $.context.word.id, target: $.input.id }]
        outputMappings: [{ source: $.output.peak, target: $.context.peak }]
        next: left,right
      - name: left
        category: pass
        outputMappings:
          - source: $.context.prefix
            target: $.context.left
            transform: source + context.word.id
        next: join
      - name: right
        category: pass
        outputMappings: [{ source: $.context.number, target: $.context.right }]
        next: join
      - name: join
        category: pass
        outputMappings:
          - { transform: 'context.left + "/" + context.right', target: $.context.result }
"""
WORDS: Final = [{"id": word} for word in "abcdef"]


@pytest.mark.parametrize(("limit", "at_once"), [(2, 2), (0, 6)], ids=["two", "unlimited"])
def test_a_foreach_runs_its_inner_graph_for_each_element_and_no_more_at_once_than_it_may(
    api: Api, functions: Functions, limit: int, at_once: int
) -> None:
    text = FOREACH.replace("FUNCTIONS", functions.url).replace("COUNT", str(at_once))
    ended = api.run(text, {"words": WORDS, "prefix": "p-", "limit": limit})
    assert ended.status == "SUCCEED"
    assert ended.context["results"] == [f"p-{word}/{n}" for n, word in enumerate("abcdef")]
    peaks = [
        api.ask(
            "GET",
            "/flow/get_sub_context.json",
            execution_id=ended.execution_id,
            parent="loop",
            group_index=index,
        ).body["ret"]["peak"]
        for index in range(6)
    ]
    assert max(peaks) == at_once
    assert len(functions.calls(ended.execution_id)) == 6


def test_the_groups_of_a_foreach_are_told_apart_by_index_and_identity(
    api: Api, functions: Functions
) -> None:
    text = FOREACH.replace("FUNCTIONS", functions.url).replace("COUNT", "1")
    ended = api.run(text, {"words": WORDS[:2], "prefix": "", "limit": 1})
    loop = ended.task("loop")
    assert loop["sub_group_index_to_identity"] == {"0": "a", "1": "b"}
    assert set(api.group(ended.execution_id, "loop", 1)) == {
        "loop_1-visit",
        "loop_1-left",
        "loop_1-right",
        "loop_1-join",
    }
    called = [call["task"] for call in functions.calls(ended.execution_id)]
    assert called == ["loop_0-visit", "loop_1-visit"]
