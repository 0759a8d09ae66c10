"""The console does the jobs of a person at night, in a real browser against a real server.

In ten seconds they know whether all is well, in thirty which execution is not, in sixty why, and
the button that mends it is on the page where they learned it.
"""

import json
import re
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from playwright.sync_api import Browser, ViewportSize, expect

from tests.cluster.api import Api
from tests.cluster.browsers import Visit
from tests.cluster.console_visits import (
    HOSTILE,
    KEY,
    MAKING,
    SHOP,
    add_trigger,
    approve,
    draw,
    enter,
    example,
    fits,
    halves_of_session,
    offered,
    pages_of,
    row,
    viewer_key,
)
from tests.cluster.processes import OwnStack, function_server

pytestmark = pytest.mark.cluster

NARROW: Final[ViewportSize] = {"width": 390, "height": 844}
WIDE: Final[ViewportSize] = {"width": 1280, "height": 800}


@pytest.fixture(name="own", scope="module")
def _own(console: OwnStack) -> OwnStack:
    return console


@pytest.fixture(name="api", scope="module")
def _api(console_api: Api) -> Api:
    return console_api


@pytest.fixture(name="gateway", scope="module")
def _gateway(console_functions: str) -> str:
    return console_functions


def test_a_server_without_executions_says_how_to_submit_the_first(visit: Visit) -> None:
    page = visit.open()
    expect(page.get_by_role("heading", name="No executions yet")).to_be_visible()
    command = page.get_by_role("region", name="Submit an execution")
    expect(command).to_contain_text(f"{visit.base_url}/flow/submit.json")
    assert not visit.inaccessible()


def test_the_failed_one_is_found_understood_and_redone(
    visit: Visit, api: Api, gateway: str
) -> None:
    api.submit(example("quickstart", gateway), {"name": "Bob"}, wait_s=60)
    failed = api.submit(SHOP.format(gateway=gateway), wait_s=60)
    page = visit.open()
    page.get_by_role("button", name=re.compile("1 failed")).click()
    expect(page).to_have_url(re.compile(r"q=status%3Afailed"))
    expect(page.get_by_role("combobox", name="Search")).to_have_value("status:failed")
    expect(page.get_by_role("row")).to_have_count(2)
    expect(row(page, failed)).to_contain_text("there is no function")
    row(page, failed).get_by_role("link", name="order").click()
    expect(page.locator(".sentence")).to_contain_text("Failed at reserve")
    page.get_by_role("group").or_(page.locator(".react-flow__node")).filter(
        has_text="Reserve the goods"
    ).click()
    inspector = page.get_by_role("complementary")
    expect(inspector).to_contain_text("$.context.nmae")
    expect(inspector).to_contain_text("there is no function")
    inspector.get_by_text("Request and answers").click()
    expect(inspector.locator(".answers")).to_contain_text("HTTP 404")
    page.get_by_role("button", name="Redo failed").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("1 failed tasks run again")
    dialog.get_by_role("button", name="Redo failed").click()
    expect(dialog).to_be_hidden()
    assert api.end(failed).status == "FAILED"


def test_a_waiting_task_says_for_what_and_is_moved_from_its_page_by_the_keyboard(
    visit: Visit, api: Api, gateway: str
) -> None:
    waiting = api.submit(example("suspense", gateway), {"name": "Bob"})
    page = visit.open()
    page.keyboard.press("/")
    page.keyboard.type("flow:examples:suspense")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(row(page, waiting)).to_contain_text("approval waits to be woken up")
    row(page, waiting).get_by_role("link").first.press("Enter")
    expect(page.locator(".sentence")).to_contain_text("approval waits to be woken up")
    page.get_by_label("approval: waiting").focus()
    page.keyboard.press("Enter")
    inspector = page.get_by_role("complementary")
    inspector.get_by_role("button", name="Wake up").press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").fill('{"approved": true}')
    dialog.get_by_role("button", name="Wake up").press("Enter")
    expect(dialog).to_be_hidden()
    assert api.end(waiting).status == "SUCCEED"
    expect(page.locator(".sentence")).to_contain_text("All tasks have ended well")
    page.keyboard.press("g")
    page.keyboard.press("e")
    expect(page).to_have_url(re.compile(r"#/executions$"))
    page.keyboard.press("g")
    page.keyboard.press("o")
    expect(page.get_by_role("heading", name="Processes")).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()


def test_the_items_of_a_group_open_in_place(visit: Visit, api: Api, gateway: str) -> None:
    names = ["Bob", "Alice", "Eve"]
    execution = api.submit(example("subflow", gateway), {"names": names}, wait_s=60)
    page = visit.open(f"execution/{execution}")
    page.get_by_role("button", name="Item 1, succeeded").click()
    expect(page.locator(".react-flow__node").filter(has_text="greeting").last).to_be_visible()
    expect(page).to_have_url(re.compile("open=everybody_1"))
    page.get_by_role("button", name="Close item 1").click()
    expect(page).not_to_have_url(re.compile("open="))


def test_what_happens_elsewhere_is_seen_without_asking(
    visit: Visit, api: Api, gateway: str
) -> None:
    waiting = api.submit(example("suspense", gateway), {"name": "Bob"})
    page = visit.open("executions?q=flow:examples:suspense")
    expect(row(page, waiting)).to_contain_text("approval waits to be woken up")
    other = api.submit("examples:suspense", {"name": "Eve"})
    # The first answer may have it, or a button tells of it and moves nothing that is being read;
    # the button is there no more as soon as an answer that was under way has it.
    new = page.get_by_role("button", name="1 new, show")
    expect(row(page, other).or_(new)).to_be_visible()
    new.evaluate_all("buttons => buttons.forEach(each => each.click())")
    expect(row(page, other)).to_be_visible()
    params = {"execution_id": waiting, "task_name": "approval"}
    api.ask("POST", "/flow/wakeup.json", body={"approved": True}, **params)
    expect(row(page, waiting)).to_contain_text("succeeded")
    row(page, other).get_by_role("link").first.click()
    expect(page.locator(".sentence")).to_contain_text("approval waits to be woken up")
    api.ask(
        "POST", "/flow/wakeup.json", body={"approved": True}, **params | {"execution_id": other}
    )
    expect(page.locator(".sentence")).to_contain_text("All tasks have ended well")
    expect(page.get_by_label("greet: succeeded")).to_be_visible()


def test_the_state_after_any_event_is_shown(visit: Visit, api: Api, gateway: str) -> None:
    execution = api.submit(example("quickstart", gateway), {"name": "Bob"}, wait_s=60)
    page = visit.open(f"execution/{execution}?tab=events")
    page.get_by_role("button", name=re.compile("The execution was submitted")).click()
    page.get_by_role("button", name="Show the state after it").click()
    expect(page).to_have_url(re.compile("event=1"))
    expect(page.locator(".sentence")).to_contain_text("greet is being called")
    expect(page.get_by_label("shout: not started")).to_be_visible()
    slider = page.get_by_role("slider", name="Position in the journal")
    slider.press("ArrowRight")
    expect(page.locator(".sentence")).to_contain_text("shout")
    page.get_by_role("tab", name="Context").click()
    expect(page.get_by_role("tabpanel")).to_contain_text('/greeting: "Hello, Bob!"')
    page.get_by_role("tab", name="Timeline").click()
    expect(page.get_by_role("table", name="Timeline of the tasks")).to_contain_text("greet")
    page.get_by_role("button", name="Live").click()
    expect(page.locator(".sentence")).to_contain_text("All tasks have ended well")
    assert not visit.inaccessible()


def test_a_version_is_compared_submitted_and_rolled_back(visit: Visit, api: Api) -> None:
    first = "workspace: shop\ndagName: refund\ntype: flow\ntasks: [{name: pay, category: pass}]\n"
    added = api.add(first).body["descriptor_id"].rpartition("md5_")[2]
    api.add(first.replace("pay", "payback"))
    page = visit.open("workflows")
    page.get_by_role("navigation", name="Workflows").get_by_role("link", name="refund").click()
    page.get_by_role("tab", name="Changes").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("name: payback")
    page.get_by_role("button", name="Submit").click()
    page.get_by_role("dialog").get_by_role("button", name="Submit").click()
    expect(page.locator(".sentence")).to_contain_text("All tasks have ended well")
    expect(page.get_by_label("payback: succeeded")).to_be_visible()
    page.go_back()
    page.get_by_role("tab", name="Versions").click()
    old = page.get_by_role("row").filter(has_text=added[:7])
    old.get_by_role("button", name="Roll back to it").click()
    page.get_by_role("dialog").get_by_role("button", name="Roll back to it").click()
    expect(old).to_contain_text("newest of release")
    assert "payback" not in api.get(api.submit("shop:refund", wait_s=60))["tasks"]


def test_a_definition_is_mended_tried_and_saved_in_the_editor(visit: Visit, api: Api) -> None:
    text = example("quickstart", "http://127.0.0.1:1")
    api.add(text.replace("workspace: examples", "workspace: shop"))
    page = visit.open("workflows/shop:quickstart")
    page.get_by_role("link", name="Edit").click()
    editor = page.get_by_role("textbox", name="Definition")
    editor.focus()
    page.keyboard.press("Control+End")
    page.keyboard.type("x")
    problem = page.get_by_role("region", name="Problems").get_by_role("button")
    expect(problem).to_contain_text("Error")
    expect(page.get_by_role("button", name="Save")).to_be_disabled()
    page.keyboard.press("Backspace")
    expect(page.get_by_text("No problems.")).to_be_visible()
    page.keyboard.type("stri")
    page.get_by_role("option", name="strict").click()
    expect(editor).to_contain_text("strict: ")
    page.keyboard.type("tr")
    page.keyboard.press("Control+Space")  # a list that typing has opened stays open
    page.get_by_role("option", name="true").click()
    page.get_by_role("tab", name="Dry run").click()
    page.get_by_label("Input", exact=True).fill('{"name": "Bob"}')
    page.get_by_role("button", name="Run", exact=True).click()
    calls = page.get_by_role("tabpanel").get_by_role("listitem")
    expect(calls).to_have_count(1)
    expect(calls.first).to_contain_text('name: "Bob"')
    calls.first.get_by_role("button", name="Answer").click()
    calls.first.get_by_role("textbox", name="Answer").fill('{"greeting": "Hi"}')
    calls.first.get_by_role("button", name="Use this answer").click()
    expect(calls).to_have_count(2)
    expect(calls.last).to_contain_text('text: "Hi"')
    assert not visit.inaccessible()
    editor.focus()
    page.keyboard.press("Control+s")
    dialog = page.get_by_role("dialog")
    expect(dialog.locator(".plus")).to_contain_text("strict: true")
    dialog.get_by_role("button", name="Save").click()
    expect(page).to_have_url(re.compile("#/workflows/shop"))
    expect(page.get_by_role("row").filter(has_text="newest of release")).to_have_count(1)
    expect(page.get_by_role("row")).to_have_count(3)


def test_text_and_graph_are_selected_both_ways_and_the_palette_keeps_comments(
    visit: Visit, api: Api
) -> None:
    api.add(example("quickstart", "http://127.0.0.1:1"))
    page = visit.open("editor/examples:quickstart")
    page.get_by_label("shout: not started").click()
    expect(page.locator(".cm-activeLine").filter(has_text="name: shout")).to_be_visible()
    page.locator(".cm-line").filter(has_text="name: greet").click()
    expect(page.locator(".react-flow__node.selected")).to_contain_text("greet")
    page.keyboard.press("End")
    page.keyboard.type("  # the first")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="pass", exact=True).click()
    expect(page.get_by_label("pass: not started")).to_be_visible()
    expect(page.locator(".cm-line").filter(has_text="# the first")).to_be_visible()
    page.get_by_role("button", name="switch", exact=True).drag_to(
        page.get_by_label("shout: not started")
    )
    expect(page.get_by_label("switch: not started")).to_be_visible()
    expect(page.locator(".cm-line").filter(has_text="next: switch")).to_be_visible()
    draw(page, "switch", "pass")
    expect(page.locator(".cm-line").filter(has_text="next: pass")).to_be_visible()
    page.get_by_role("button", name="Format").click()
    expect(page.locator(".cm-line").filter(has_text="# the first")).to_be_visible()
    page.get_by_role("link", name="Executions").click()
    page.go_back()
    expect(page.locator(".cm-line").filter(has_text="# the first")).to_be_visible()
    page.get_by_role("button", name="Discard changes").click()
    expect(page.get_by_label("pass: not started")).to_have_count(0)


def test_conditions_and_mappings_are_explained_and_others_are_tried_on_the_past(
    visit: Visit, api: Api, gateway: str
) -> None:
    execution = api.submit(example("suspense", gateway), {"name": "Bob"})
    page = visit.open(f"execution/{execution}?task=approval")
    inspector = page.get_by_role("complementary")
    expect(inspector.get_by_text("Conditions", exact=True)).to_be_visible()
    expect(inspector).to_contain_text("false")
    page.get_by_role("tab", name="What if").click()
    page.get_by_role("button", name="Condition").click()
    page.get_by_role("textbox", name="Condition").fill("$.context.[?(@.name == 'Bob')]")
    part = page.get_by_role("row").filter(has_text="@.name == 'Bob'")
    expect(part).to_contain_text('"Bob"')
    expect(part).to_contain_text("true")
    page.get_by_role("button", name="Path").click()
    page.get_by_role("textbox", name="Path").fill("$.context.nmae")
    expect(page.get_by_role("tabpanel")).to_contain_text("does not exist")


def test_a_view_is_saved_and_all_that_a_search_finds_is_cancelled(visit: Visit, api: Api) -> None:
    waits = "workspace: shop\ndagName: batch\ntype: flow\ntasks: [{name: w, category: suspense,"
    waits += " conditions: ['$.input.[?(@.go == true)]']}]\n"
    ids = [api.submit(waits)] + [api.submit("shop:batch") for _ in range(4)]
    page = visit.open("executions?q=flow:shop:batch")
    page.get_by_label("Saved views").select_option(label="Save this search")
    page.get_by_role("dialog").get_by_label("Name").fill("Batches")
    page.get_by_role("dialog").get_by_role("button", name="Save").click()
    page.goto(f"{visit.base_url}/console#/executions")
    page.reload()
    page.get_by_label("Saved views").select_option(label="Batches")
    expect(page).to_have_url(re.compile("q=flow%3Ashop%3Abatch"))
    row(page, ids[0]).get_by_role("checkbox").check()
    page.get_by_role("button", name="All of this search").click()
    page.get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog", name="Cancel 5 executions")
    expect(dialog).to_contain_text("5 of this search")
    dialog.get_by_role("button", name="Cancel").click()
    expect(dialog).to_be_hidden()
    for each in ids:
        assert api.end(each).status == "FAILED"


def test_triggers_are_seen_paused_fired_and_followed_to_what_they_started(
    visit: Visit, api: Api, gateway: str
) -> None:
    api.submit(example("quickstart", gateway), {"name": "Bob"}, wait_s=60)
    add_trigger(api, "yearly", "examples:quickstart", cron="0 0 1 1 *", context={"name": "Eve"})
    hook = {"signature": "none", "mapping": {"name": "$.body.name"}}
    add_trigger(api, "push", "examples:quickstart", webhook=hook)
    page = visit.open("triggers")
    expect(page.get_by_role("row").filter(has_text="push")).to_contain_text("Waits for requests")
    page.get_by_role("row").filter(has_text="yearly").get_by_role("link", name="yearly").click()
    expect(page.locator(".sentence")).to_contain_text("Fires at")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.locator(".sentence")).to_contain_text("Paused")
    page.get_by_role("button", name="Resume").click()
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    expect(page.locator(".sentence")).to_contain_text("Fires at")
    page.get_by_role("button", name="Backfill").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("First time").fill("2025-06-01T00:00")
    dialog.get_by_label("Last time").fill("2026-06-01T00:00")
    dialog.get_by_role("button", name="Backfill").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("row").filter(has_text="succeeded")).to_have_count(1)
    page.get_by_role("button", name="Fire").click()
    page.get_by_role("dialog").get_by_role("button", name="Fire").click()
    expect(page.locator(".facts")).to_contain_text("by the trigger yearly (by hand)")
    expect(page.locator(".sentence")).to_contain_text("All tasks have ended well")
    page.get_by_role("link", name="yearly").click()
    expect(page.get_by_role("row").filter(has_text="succeeded")).to_have_count(2)


def test_artifacts_are_shown_and_nothing_in_them_runs(visit: Visit, api: Api) -> None:
    with function_server(Path(__file__).with_name("artifact_functions.py")) as functions:
        execution = api.submit(MAKING.format(functions=functions), wait_s=60)
    page = visit.open(f"execution/{execution}?task=make")
    inspector = page.get_by_role("complementary")
    drawn = inspector.get_by_role("img", name="picture.svg")
    expect(drawn).to_be_visible()
    page.wait_for_function("image => image.naturalWidth === 60", arg=drawn.element_handle())
    expect(inspector.get_by_role("region", name="page.html")).to_contain_text("<script>")
    expect(inspector.locator(".artifacts")).to_contain_text("frames: 24")
    expect(inspector.get_by_text("The first 64 KB are shown.")).to_be_visible()
    with page.expect_download() as saved:
        inspector.get_by_role("button", name="Save page.html").click()
    assert saved.value.suggested_filename == "page.html"
    assert "evil" not in page.title()
    assert not visit.inaccessible()


def test_a_key_is_offered_what_its_role_allows(
    browser: Browser, own: OwnStack, api: Api, gateway: str
) -> None:
    waiting = api.submit(example("suspense", gateway), {"name": "Bob"})
    visit = Visit(browser, own.base_url)
    page = enter(visit, viewer_key(api, "examples"))
    expect(page.get_by_text("viewer · examples")).to_be_visible()
    expect(row(page, waiting)).to_be_visible()
    expect(page.get_by_role("checkbox")).to_have_count(0)
    expect(page.get_by_role("link", name="Operations")).to_have_count(0)
    page.goto(f"{own.base_url}/console#/execution/{waiting}?task=approval")
    expect(page.get_by_role("complementary")).to_contain_text("approval waits to be woken up")
    steering = page.get_by_role("button", name=re.compile("Cancel|Pause|Wake up|again"))
    expect(steering).to_have_count(0)
    page.goto(f"{own.base_url}/console#/workflows/examples:suspense")
    expect(page.get_by_role("tab", name="Definition")).to_be_visible()
    expect(page.get_by_role("button", name="Submit")).to_have_count(0)
    page.goto(f"{own.base_url}/console#/editor/examples:suspense")
    expect(page.get_by_text("this page needs the role author")).to_be_visible()
    visit.close()


def test_hostile_names_and_values_are_shown_as_text(visit: Visit, api: Api, gateway: str) -> None:
    execution = api.submit(
        example("quickstart", gateway), {"name": HOSTILE, HOSTILE: HOSTILE}, wait_s=60
    )
    page = visit.open(f"execution/{execution}?tab=context")
    expect(page.get_by_role("tabpanel")).to_contain_text("<script>")
    fits(page, WIDE["width"])
    expect(page).to_have_title(re.compile(re.escape(execution)))
    page = visit.open("editor/examples:quickstart?tab=try")
    page.get_by_label("Input", exact=True).fill(json.dumps({"name": HOSTILE, HOSTILE: HOSTILE}))
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("tabpanel").get_by_role("listitem")).to_contain_text("<script>")
    fits(page, WIDE["width"])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_and_fits_the_screen_in_both_themes(
    browser: Browser, signed_in: Any, api: Api, gateway: str, scheme: str
) -> None:
    execution = api.submit(example("suspense", gateway), {"name": "Bob"})
    add_trigger(api, "nightly", "examples:suspense", cron="0 2 * * *")
    visit = Visit(browser, api.base_url, storage_state=signed_in, color_scheme=scheme)
    for address in pages_of(execution):
        page = visit.open(address)
        expect(page.locator("[aria-busy=true]")).to_have_count(0)
        assert not visit.inaccessible(), address
        page.set_viewport_size(NARROW)
        fits(page, NARROW["width"])
        # What is scrolled on a narrow screen is reached by the keyboard.
        assert scheme == "dark" or not visit.inaccessible(), f"{address}, narrow"
        page.set_viewport_size(WIDE)
    visit.close()


def test_a_browser_that_prefers_chinese_is_answered_in_it(
    browser: Browser, own: OwnStack, signed_in: Any
) -> None:
    visit = Visit(browser, own.base_url, storage_state=signed_in, locale="zh-CN")
    page = visit.open()
    expect(page.get_by_role("link", name="执行", exact=True)).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("link", name="Executions")).to_be_visible()
    page.reload()
    expect(page.get_by_role("link", name="Executions")).to_be_visible()
    visit.close()


@pytest.mark.long
def test_a_page_outlives_a_restart_of_the_server(
    visit: Visit, own: OwnStack, api: Api, gateway: str
) -> None:
    waiting = api.submit(example("suspense", gateway), {"name": "Bob"})
    page = visit.open(f"execution/{waiting}")
    expect(page.locator(".sentence")).to_contain_text("approval waits to be woken up")
    own.stop()
    expect(page.get_by_text("Connection lost. Trying again.")).to_be_visible()
    own.start()
    expect(page.get_by_text("Connection lost. Trying again.")).to_be_hidden()
    approve(api, waiting)
    expect(page.locator(".sentence")).to_contain_text("All tasks have ended well")


def test_a_page_whose_files_an_upgrade_has_taken_away_is_loaded_anew(visit: Visit) -> None:
    page = visit.open("triggers")
    files = re.compile("operations_page-.*js")
    page.route(files, lambda route: route.fulfill(status=404), times=1)
    page.get_by_role("link", name="Operations").click()
    expect(page.get_by_role("heading", name="Last hours")).to_be_visible()


def test_the_answer_of_the_api_opens_in_a_tab(visit: Visit, api: Api, gateway: str) -> None:
    execution = api.submit(example("quickstart", gateway), {"name": "Bob"}, wait_s=60)
    page = visit.open(f"execution/{execution}")
    with visit.context.expect_page() as opened:
        page.get_by_role("button", name="JSON").click()
    expect(opened.value.locator("body")).to_contain_text("Hello, Bob!")


def test_who_signs_out_has_left_in_all_tabs_and_at_the_server(
    browser: Browser, own: OwnStack
) -> None:
    visit = Visit(browser, own.base_url)
    page = enter(visit, KEY)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    other = visit.context.new_page()
    other.goto(f"{own.base_url}/console")
    expect(other.get_by_role("button", name="Sign out")).to_be_visible()
    stolen, both = halves_of_session(visit)
    asked = f"{own.base_url}/flow/bg/get_business_options.json"
    # Each port of this machine gets the cookie from a browser, and nothing else.
    assert [httpx.get(asked, headers=each).status_code for each in (stolen, both)] == [401, 200]
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
    assert httpx.get(asked, headers=both).status_code == 401
    visit.close()


def test_no_link_ends_a_session_unasked(browser: Browser, own: OwnStack, api: Api) -> None:
    visit = Visit(browser, own.base_url)
    operations = visit.follow(f"key={KEY}").get_by_role("link", name="Operations")
    expect(operations).to_be_visible()
    offered(visit, key := viewer_key(api, "shop")).get_by_role("button", name="Back").click()
    expect(operations).to_be_visible()
    offered(visit, key).get_by_role("button", name="Sign in").click()
    expect(visit.page.get_by_text("viewer · shop")).to_be_visible()
    visit.close()
