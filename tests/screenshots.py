"""Takes the pictures of ``docs/console.md``: ``python -m tests.screenshots``.

It starts a stack and the function gateway of the examples, runs some workflows of theirs, and looks
at them in Chromium (``tests/cluster/browsers.py``).
"""

import tempfile
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page, expect

from tests.cluster.api import Api
from tests.cluster.browsers import Visit, running
from tests.cluster.processes import ROOT, OwnStack, function_server
from tests.loopback import closed_port

PICTURES: Final = ROOT / "docs" / "console"
GATEWAY_IN_EXAMPLES: Final = "http://127.0.0.1:8081"
FAILING: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - {{name: reserve, category: pass, next: "charge,pack"}}
  - name: charge
    category: function
    pattern: task_sync
    resourceName: "{gateway}/function/nothing"
    inputMappings: [{{source: $.context.nmae, target: $.input.name}}]
    next: ship
  - name: pack
    category: suspense
    conditions: ["$.input.[?(@.packed == true)]"]
    next: ship
  - {{name: ship, category: pass}}
"""

TRIGGERS: Final[dict[str, dict[str, Any]]] = {
    "nightly": {
        "descriptor_id": "examples:quickstart",
        "cron": "0 2 * * *",
        "time_zone": "Europe/Berlin",
        "context": {"name": "Bob"},
    },
    "reminder": {"descriptor_id": "examples:suspense", "cron": "0 9 * * MON-FRI", "paused": True},
    "push": {
        "descriptor_id": "examples:quickstart",
        "webhook": {"signature": "none", "mapping": {"name": "$.body.pusher.name"}},
    },
}


def main() -> None:
    """Run workflows, and take a picture of each page."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        stack = OwnStack(Path(folder) / "data", closed_port())
        try:
            stack.start()
            functions = ROOT / "examples" / "functions.py"
            with function_server(functions) as gateway, Api(stack.base_url) as api:
                take(stack.base_url, run(api, gateway))
        finally:
            stack.stop()


def run(api: Api, gateway: str) -> tuple[str, str]:
    """Run some workflows; return the ids of a failed execution and of one with items."""
    for name in ("quickstart", "suspense", "subflow"):
        text = (ROOT / "examples" / f"{name}.yaml").read_text(encoding="utf-8")
        api.add(text.replace(GATEWAY_IN_EXAMPLES, gateway))
    for name in ("Bob", "Alice", "Eve", "Kim"):
        api.submit("examples:quickstart", {"name": name}, wait_s=20)
        api.submit("examples:suspense", {"name": name})
    for name, trigger in TRIGGERS.items():
        api.ask("POST", "/flow/triggers/add.json", body={"id": name, **trigger})
    api.ask("POST", "/flow/triggers/fire.json", trigger_id="nightly")
    families = api.submit("examples:subflow", {"names": ["Bob", "Alice", "Eve", "Kim"]}, wait_s=20)
    order = api.submit(FAILING.format(gateway=gateway), {"name": "Bob"}, wait_s=20)
    return order, families


def take(base_url: str, executions: tuple[str, str]) -> None:
    """Take the pictures."""
    order, families = executions
    pages = {
        "executions": "executions",
        "execution": f"execution/{order}?task=charge",
        "group": f"execution/{families}?open=everybody_1&event=4",
        "workflows": "workflows/examples:quickstart",
        "editor": "editor/shop:order",
        "dry_run": "editor/shop:order?tab=try",
        "triggers": "triggers",
        "operations": "operations",
    }
    with running() as browser:
        for name, address in pages.items():
            visit = Visit(browser, base_url)
            page = visit.open(address)
            if name == "dry_run":
                try_out(page)
            settle(page)
            page.screenshot(path=PICTURES / f"{name}.png")
            visit.close()


def try_out(page: Page) -> None:
    """Run the definition that is shown, without calling anybody."""
    page.get_by_label("Input", exact=True).fill('{"name": "Bob"}')
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("heading", name="Calls").wait_for()


def settle(page: Page) -> None:
    """Wait until everything that was asked for is shown."""
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    page.wait_for_timeout(500)


if __name__ == "__main__":
    main()
