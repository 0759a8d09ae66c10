"""Random workflows of all categories, for a world whose functions act by their names."""

from collections.abc import Callable
from random import Random
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from tests.spec.notation import (
    Definition,
    Json,
    at_most,
    choice,
    each,
    fn,
    on_input,
    pass_,
    ret,
    susp,
    sw,
)

MOST_TASKS: Final = 6
LISTENER: Final = {"resourceName": "http://listener"}
CONDITIONS: Final = [on_input("x > 2"), on_input("x != 3"), on_input("x > 0"), on_input("x > 9")]
CHOSEN: Final = "ab://functions"
"""A function that the rules of the catalogue choose."""
ON_RAY: Final = "ray://"
POLLED: Final = "A"
"""First letter of the names of tasks whose result is asked for."""
SUSPENSE: Final = "W"
"""First letter of the names of suspense tasks, which somebody must wake up."""


class Workflows(NamedTuple):
    """The definitions of one run, and whether their outcome is sure.

    ``child`` is what sub-flow tasks start, ``gray`` what they start for some users. The
    outcome of a sure workflow depends on its definition and the answers of its
    functions only, and not on the order or the time of anything.
    """

    main: Definition
    child: Definition
    gray: Definition
    sure: bool


def draw_workflows(random: Random) -> Workflows:
    """Draw the workflow of a run, and those that its sub-flow tasks start."""
    sure = random.random() < 0.5
    child = _Drawing(random, sure=sure, depth=1, most=2).workflow("child")
    gray = _Drawing(random, sure=sure, depth=1, most=2).workflow("child")
    main = _Drawing(random, sure=sure, depth=3, most=MOST_TASKS).workflow("main")
    return Workflows(main, child, gray, sure)


def on_ray(workflows: Workflows) -> Workflows:
    """Return workflows whose functions are on Ray, but for those whose results are polled."""
    main, child, gray, sure = workflows
    return Workflows(_on_ray(main), _on_ray(child), _on_ray(gray), sure)


def _on_ray(part: Any) -> Any:
    """Return a part of a definition with other addresses."""
    if isinstance(part, list):
        return [_on_ray(each) for each in part]
    if not isinstance(part, dict):
        return part
    changed = {key: _on_ray(value) for key, value in part.items()}
    address = urlsplit(part.get("resourceName", ""))
    if address.netloc.startswith("gateway") and "completion" not in part:
        changed["resourceName"] = f"{ON_RAY}{address.netloc}:{part['name']}"
    return changed


class _Drawing:
    """Draws one workflow; every task has another name and writes a key of its own."""

    def __init__(self, random: Random, *, sure: bool, depth: int, most: int) -> None:
        self._random = random
        self._sure = sure
        self._depth = depth
        self._most = most
        self._names = 0

    def workflow(self, name: str) -> Definition:
        header: Definition = {"workspace": "demo", "dagName": name, "type": "flow"}
        if self._random.random() < 0.4:
            header["callback"] = LISTENER
        if not self._sure and self._random.random() < 0.2:
            header["timeline"] = {"timeoutInSeconds": "20"}
        return {**header, "tasks": self._level(self._depth)}

    def _level(self, depth: int) -> list[Definition]:
        tasks: list[Definition] = []
        for _ in range(self._random.randint(1, 3)):
            if not tasks or self._names < self._most:
                tasks.append(self._task(depth))
        names = [task["name"] for task in tasks]
        for position, task in enumerate(tasks):
            self._link(task, names[position + 1 :])
        return tasks

    def _link(self, task: Definition, later: list[str]) -> None:
        chosen = [name for name in later if self._random.random() < 0.6]
        if task["category"] == "switch" and later:
            entries = list(zip(self._some(CONDITIONS), later, strict=False))
            task.update(sw(task["name"], *entries, ("default", later[-1]), ins="x"))
        elif chosen:
            task["next"] = ",".join(chosen)

    def _some(self, items: list[str]) -> list[str]:
        return self._random.sample(items, self._random.randint(1, len(items)))

    def _task(self, depth: int) -> Definition:
        self._names += 1
        makers: list[Callable[[str], Definition]] = [
            *[self._function] * 5,
            lambda name: pass_(f"P{name}", ins="x", outs=[_rule("$.output.x", f"P{name}")]),
            lambda name: ret(f"R{name}", self._random.choice(CONDITIONS), ins="x"),
            lambda name: sw(f"S{name}", ins="x"),
            self._suspense,
        ]
        if depth > 1:
            makers += [lambda name: self._each(name, depth), lambda name: self._choice(name, depth)]
        if self._depth > 1:
            makers += [self._flow] * 2
        task = self._random.choice(makers)(str(self._names))
        if self._random.random() < 0.15:
            task["timeline"] = {"suspenseIntervalSeconds": "2"}
        elif not self._sure and self._random.random() < 0.3:
            task["timeline"] = {"timeoutInSeconds": self._random.choice(["1", "4"])}
        if not self._sure:
            self._complicate(task)
        return task

    def _complicate(self, task: Definition) -> None:
        if self._random.random() < 0.3:
            task["tolerance"] = True
        if self._random.random() < 0.3:
            task["keyCallback"] = True
        for side in ("inputType", "outputType"):
            if self._random.random() < 0.1:
                task[side] = "stream"

    def _function(self, number: str) -> Definition:
        name = f"F{number}"
        retry = {"maxRetryTimes": 2, "intervalInSeconds": self._random.choice([0, 1])}
        kind = self._random.choice(["sync", "async", "async", "poll"])
        outs = [_rule("$.output.said", name)]
        if kind == "poll":
            name = f"{POLLED}{number}"
            task = fn(name, "async", ins="x", outs=outs, retry=retry, completion="poll")
        else:
            task = fn(name, kind, ins="x", outs=outs, retry=retry)
        task["resourceName"] = f"http://gateway{int(number) % 3}/{name}"
        if self._random.random() < 0.15:
            task["resourceName"] = CHOSEN
        return task

    def _flow(self, number: str) -> Definition:
        name = f"C{number}"
        kind = self._random.choice(["flow_sync", "flow_sync", "flow_async"])
        outs = [_rule("$.output.F1", name)] if kind == "flow_sync" else None
        task = fn(name, kind, ins="x", outs=outs)
        task["resourceName"] = "rillflow://demo:child"
        return task

    def _suspense(self, number: str) -> Definition:
        name = f"{SUSPENSE}{number}"
        return susp(
            name,
            on_input("go == true"),
            ins=[_rule("$.context.x", "x", "input"), _rule(f"$.context.go{name}", "go", "input")],
            outs=[_rule("$.output.go", f"go{name}")],
        )

    def _each(self, number: str, depth: int) -> Definition:
        limit = self._random.choice([None, at_most(1), at_most(2)])
        elements = list(range(1, 1 + self._random.randrange(3)))
        return each(
            f"E{number}",
            "list",
            *self._level(depth - 1),
            ins=[
                _rule("$.context.x", "x", "input"),
                {"source": str(elements), "target": "$.input.list"},
            ],
            outs=[_rule("$.output.sub_context", f"E{number}")],
            synchronization=limit,
        )

    def _choice(self, number: str, depth: int) -> Definition:
        count = self._random.randint(1, 2)
        branches = [(self._random.choice(CONDITIONS), self._level(depth - 1)) for _ in range(count)]
        return choice(f"D{number}", *branches, ins="x")


def _rule(source: str, name: str, root: str = "context") -> Json:
    return {"source": source, "target": f"$.{root}.{name}"}
