"""The small examples as flows in Python; each does the same as the YAML file of its name.

rillflow run examples/flows.py:quickstart -i name=Bob
rillflow run examples/flows.py:choice -i number=7
rillflow run examples/flows.py:switch -i number=7
rillflow run examples/flows.py:everybody -i 'names=["Bob", "Alice"]'
"""

from typing import Any, Final

from rillflow.flow import all_of, call, flow, foreach, optional, subflow, wait_for, when

GATEWAY: Final = "http://127.0.0.1:8081"


@flow(workspace="examples", name="quickstart")
def quickstart(name: str) -> dict[str, Any]:
    """Two functions in a row: greet somebody, then shout the greeting."""
    greet = call(f"{GATEWAY}/function/greet", name=name)
    shout = call.options(callback=True)(f"{GATEWAY}/async-function/shout", text=greet.greeting)
    return {"greeting": greet.greeting, "shouted": shout.text}


@flow(workspace="examples", name="choice")
def choice(number: int) -> dict[str, Any]:
    """Decide by a number that is known only while the workflow runs."""
    return {"size": when(number < 10, lambda: "small").otherwise(lambda: "large")}


@flow(workspace="examples", name="switch")
def switch(number: int) -> dict[str, Any]:
    """Call one of two functions."""

    def square() -> Any:
        return {"square": call(f"{GATEWAY}/function/square", number=number).square}

    def refuse() -> Any:
        return {"text": call(f"{GATEWAY}/function/shout", text="too large").text}

    answer = when(all_of(number >= 0, number < 10), square).otherwise(refuse)
    return {"square": optional(answer.square), "text": optional(answer.text)}


@flow(workspace="examples", name="subflow")
def everybody(names: list[str]) -> dict[str, Any]:
    """Run another flow for every element of a list, one after the other."""
    greetings = foreach(names, lambda name: subflow(quickstart, name)["shouted"], at_once=1)
    return {"greetings": greetings}


@flow(workspace="examples", name="suspense")
def approved(name: str) -> dict[str, Any]:
    """Wait until somebody approves, for an hour at most."""
    wait_for(
        "approval",
        until=lambda answer: answer.approved == True,  # noqa: E712 - becomes an expression
        unless=lambda answer: answer.approved == False,  # noqa: E712 - the same
        timeout_s=3600,
    )
    return {"greeting": call(f"{GATEWAY}/function/greet", name=name).greeting}
