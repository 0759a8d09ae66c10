"""What visits of the console have in common: workflows, signing in, and what a pointer does."""

from typing import Any, Final

from playwright.sync_api import Browser, Locator, Page, expect

from tests.cluster.api import Api
from tests.cluster.browsers import Visit
from tests.cluster.processes import ROOT

KEY: Final = "correct-horse-battery"
GATEWAY_IN_EXAMPLES: Final = "http://127.0.0.1:8081"
SHOP: Final = """
workspace: shop
dagName: order
type: flow
tasks:
  - name: reserve
    title: Reserve the goods
    category: function
    pattern: task_sync
    resourceName: "{gateway}/function/nothing"
    next: charge
    inputMappings: [{{source: $.context.nmae, target: $.input.name}}]
  - name: charge
    category: pass
"""
MAKING: Final = """
workspace: shop
dagName: making
type: flow
tasks:
  - name: make
    category: function
    pattern: task_sync
    resourceName: "{functions}/function/make"
    outputMappings: [{{source: $.output, target: $.context.made}}]
"""
HOSTILE: Final = (
    """<script>document.title = "evil"</script>\u202e" onerror=alert(1) '""" + "x" * 3_000
)


def signed_in(browser: Browser, base_url: str) -> Any:
    """Return the cookies of somebody who has shown the key on the page for it."""
    visit = Visit(browser, base_url)
    page = visit.open()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert not visit.inaccessible()
    page.get_by_label("API key").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("the API key is wrong")
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.get_by_role("combobox", name="Search")).to_be_visible()
    assert KEY not in page.evaluate("document.cookie + JSON.stringify({...localStorage})")
    state = visit.context.storage_state()
    visit.close()
    return state


def enter(visit: Visit, key: str) -> Page:
    """Show a key on the page for it."""
    page = visit.open()
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    return page


def offered(visit: Visit, key: str) -> Locator:
    """Follow a link that has a key while somebody is signed in; return what the page asks."""
    page = visit.follow(f"key={key}")
    asked = page.get_by_role("dialog", name="Sign in with the key of this address?")
    expect(asked).to_be_visible()
    assert "key=" not in page.url
    assert not visit.inaccessible()
    return asked


def halves_of_session(visit: Visit) -> tuple[dict[str, str], dict[str, str]]:
    """Return the headers with the cookie of whoever is signed in, and those with the token too."""
    [cookie] = visit.context.cookies()
    token = visit.page.evaluate(
        "Object.values(localStorage).find((value) => /^[0-9a-f]{64}$/.test(value))"
    )
    half = {"Cookie": f"{cookie.get('name')}={cookie.get('value')}"}
    return half, half | {"X-Rillflow-Session": token}


def example(name: str, gateway: str) -> str:
    text = (ROOT / "examples" / f"{name}.yaml").read_text(encoding="utf-8")
    return text.replace(GATEWAY_IN_EXAMPLES, gateway)


def pages_of(execution_id: str) -> list[str]:
    """Return the addresses of all pages, for an execution of the example ``suspense``."""
    return [
        "executions",
        "executions?q=foo:bar",
        f"execution/{execution_id}?task=approval",
        f"execution/{execution_id}?tab=timeline&event=1",
        f"execution/{execution_id}?tab=waits",
        f"execution/{execution_id}?tab=events",
        f"execution/{execution_id}?tab=context",
        f"execution/{execution_id}?tab=context&by=task",
        f"execution/{execution_id}?tab=whatif&event=1",
        "editor/examples:suspense",
        "editor/examples:suspense?tab=try",
        f"editor/examples:suspense?tab=play&execution={execution_id}",
        "editor",
        "workflows/examples:suspense",
        "workflows/examples:suspense?tab=text",
        "triggers",
        "triggers/nightly",
        "operations",
    ]


def row(page: Page, execution_id: str) -> Any:
    uuid = execution_id.rpartition("_")[2]
    return page.get_by_role("row").filter(has=page.get_by_text(uuid[:8], exact=True))


def fits(page: Page, width: int) -> None:
    """Wait until nothing of a page is wider than the screen; charts follow its size a little later.

    Raises:
        TimeoutError: Something stays wider.
    """
    page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)


def draw(page: Page, first: str, second: str) -> None:
    """Draw a line from one task of the graph to another, once both lie still."""
    handles = [
        page.get_by_label(f"{name}: not started").locator(f".react-flow__handle-{edge}")
        for name, edge in ((first, "bottom"), (second, "top"))
    ]
    for handle in handles:
        handle.hover()  # waits until it no longer moves
    places = [handle.bounding_box() for handle in handles]
    page.mouse.move(*middle(places[0]))
    page.mouse.down()
    page.mouse.move(*middle(places[1]), steps=8)
    page.mouse.up()


def middle(box: Any) -> tuple[float, float]:
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def add_trigger(api: Api, name: str, flow: str, **more: Any) -> None:
    """Add a trigger, or replace it."""
    new = {"id": name, "descriptor_id": flow, "replace": True, **more}
    answer = api.ask("POST", "/flow/triggers/add.json", body=new)
    assert answer.status == 200, answer.body


def approve(api: Api, execution_id: str) -> None:
    """Wake up the task ``approval``."""
    query = {"execution_id": execution_id, "task_name": "approval"}
    answer = api.ask("POST", "/flow/wakeup.json", body={"approved": True}, **query)
    assert answer.status == 200, answer.body


def viewer_key(api: Api, workspace: str) -> str:
    """Make a key that may look at what is in one workspace."""
    return named_key(api, f"reader-of-{workspace}", "viewer", workspaces=workspace)


def named_key(api: Api, name: str, role: str, **more: str) -> str:
    """Make a key with a name and a role."""
    made = api.ask("POST", "/flow/keys/add.json", name=name, role=role, **more)
    assert made.status == 200, made.body
    return str(made.body["key"])
