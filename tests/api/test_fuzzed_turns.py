"""What the fuzzers of the language and of definitions make up holds no event loop either.

Loops without an end are interrupted, and others come between.
"""

import asyncio
import json
import time
from functools import partial
from itertools import count
from typing import Any, Final

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.serving import Api, served
from tests.api.turns_of_loop import Loop
from tests.fuzzing import examples
from tests.machine_speed import slowness, tries
from tests.spec.test_hostile_definitions import KEYS, PUNCTUATION, WORDS, trees
from tests.spec.test_hostile_language import PIECES, paths
from tests.spec.test_transform_fuzz import SCRIPTS
from tests.turns import LONGEST_MS, measured_turns
from tests.untrusted_readers import hostile_texts

ADD: Final = "/flow/bg/manage/descriptor/add_descriptor.json"
VALIDATE: Final = "/flow/validate.json"
NAMES: Final = {"business_id": "shop", "feature_name": "order", "alias": "release"}
CONTEXT: Final = {
    "a": {"b": [1, 2, {"x-y": "a" * 100}], "0": None},
    "键": "b",
    "b": list(range(50)),
}


ITERATIONS: Final = 40
LOOPING: Final = {
    "transform": "let s=0; while(true){ s=s+1; } return s;",
    "source": "1",
    "tolerance": True,
}
GREEDY: Final = f"""workspace: turns
dagName: greedy
type: flow
tasks:
  - name: each
    category: foreach
    inputMappings: [{{source: $.context.items, target: $.input.items}}]
    iterationMapping: {{collection: $.input.items, item: item}}
    tasks:
      - name: call
        category: function
        pattern: task_sync
        resourceName: ${{GW}}/function/greedy
        outputMappings: {json.dumps([{**LOOPING, "target": f"$.context.x{n}"} for n in range(4)])}
"""
TEN_LOOPS: Final = f"""workspace: turns
dagName: loops
type: flow
tasks:
  - name: all
    category: pass
    inputMappings: {json.dumps([{**LOOPING, "target": f"$.input.x{n}"} for n in range(10)])}
"""
MODEST: Final = """workspace: turns
dagName: modest
type: flow
tasks:
  - { name: only, category: pass }
"""


def made_up(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """Return what a strategy makes, the same at every run."""
    found: list[Any] = []

    @settings(max_examples=examples(count), database=None)
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


def definition(rules: list[dict[str, str]]) -> str:
    task = {"name": "A", "category": "pass", "inputMappings": rules, "outputMappings": rules}
    return json.dumps({"workspace": "shop", "dagName": "order", "type": "flow", "tasks": [task]})


async def add(api: Api, text: str) -> httpx.Response:
    return await api.client.post(ADD, params=NAMES, content=text)


async def run(api: Api) -> None:
    await api.ended(await api.submit("shop:order", CONTEXT))


@pytest.mark.long
async def test_no_rule_that_was_made_up_holds_the_loop() -> None:
    joined = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)
    sources = [*made_up(joined, 200), *(f"$.context{path}" for path in made_up(paths, 200))]
    scripts = made_up(SCRIPTS, 200)
    rules = [{"source": source, "target": "$.context.to"} for source in sources]
    rules += [
        {"source": "$.context.a", "transform": script, "target": "$.input.to"} for script in scripts
    ]
    async with served() as api, Loop.measured() as loop:
        for start in range(0, len(rules), 5):
            some = rules[start : start + 5]
            await loop.of(f"add {some}", partial(add, api, definition(some)))
            if (await add(api, definition(some))).status_code == 200:
                await loop.of(f"run {some}", partial(run, api))
    loop.assert_free()


@pytest.mark.long
async def test_no_definition_that_was_made_up_holds_the_loop() -> None:
    mixed = st.lists(st.sampled_from([*KEYS, *WORDS, *PUNCTUATION]), max_size=40).map("".join)
    shaped = st.dictionaries(st.sampled_from(KEYS), trees, max_size=8).map(json.dumps)
    large = [text for _, text in hostile_texts(600_000)][::29]
    texts = [*made_up(mixed, 200), *made_up(shaped, 200), *large]
    async with served() as api, Loop.measured() as loop:
        for text in texts:
            for path, params in ((ADD, NAMES), (VALIDATE, {})):
                send = partial(
                    api.client.post, path, params=params, content=text.encode(errors="replace")
                )
                await loop.of(f"{path} {text[:60]!r}", send)
    loop.assert_free()


async def test_ten_transforms_without_an_end_hold_the_loop_no_longer_than_others() -> None:
    async with served() as api:
        loops = await api.add(TEN_LOOPS)
        for _ in tries():
            with measured_turns() as turns:
                ended = await api.ended(await api.submit(loops))
            assert ended["dag_status"] == "FAILED"
            assert "turn_max_steps" in ended["dag_invoke_msg"]["msg"]
            if turns.longest_ms < LONGEST_MS * slowness():
                break
        else:
            pytest.fail(f"a turn takes {turns.longest_ms:.0f} ms")


async def test_iterations_at_their_limit_hold_the_loop_for_a_part_of_an_event_at_a_time() -> None:
    calls, all_called = count(1), asyncio.Event()

    def greedy(_: Any) -> dict[str, int]:
        if next(calls) == ITERATIONS:
            all_called.set()
        return {"ok": 1}

    async with served({"greedy": greedy}) as api:
        loops = await api.add(GREEDY)
        begun_s = time.thread_time()
        with measured_turns() as turns:
            execution_id = await api.submit(loops, {"items": list(range(ITERATIONS))})
            ended = asyncio.create_task(api.ended(execution_id))
            await all_called.wait()
            assert (await api.run(MODEST))["dag_status"] == "SUCCEED"
            assert not ended.done()
            assert (await ended)["dag_status"] == "SUCCEED"
        spent_ms = (time.thread_time() - begun_s) * 1000
    # Each iteration is an event of several parts; how long they take depends on the machine.
    assert turns.longest_ms < spent_ms / (2 * ITERATIONS)
