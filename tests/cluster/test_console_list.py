"""The list and the pages of executions steer, narrow and tell times, in a real browser."""

import re
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.cluster.api import Api
from tests.cluster.browsers import Visit
from tests.cluster.console_visits import KEY, SHOP, enter, example, fits, named_key, row
from tests.cluster.path_proxy import below_a_path
from tests.cluster.processes import OwnStack

pytestmark = pytest.mark.cluster

V1: Final = "/flow/console/v1/"
AGO: Final = re.compile(r"just now|\d+ (s|min) ago")
HAS_LINES: Final = """image => {
    const probe = document.createElement("canvas").getContext("2d");
    probe.fillStyle = getComputedStyle(image).getPropertyValue("--plot-grid");
    probe.fillRect(0, 0, 1, 1);
    const wanted = probe.getImageData(0, 0, 1, 1).data.join();
    const canvas = image.querySelector("canvas");
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    let found = 0;
    for (let at = 0; at < data.length; at += 4)
        if (data.slice(at, at + 4).join() === wanted) found += 1;
    return found > width / 2;
}"""
"""Tells whether the lines of a chart have the colour that the theme has now."""
EXACT: Final = re.compile(r"\d\d/\d\d/\d{4}, \d\d:\d\d:\d\d\.\d{3} \S+")


@pytest.fixture(name="api", scope="module")
def _api(console_api: Api) -> Api:
    return console_api


@pytest.fixture(name="waiting", scope="module")
def _waiting(api: Api, console_functions: str) -> str:
    """Return an execution that waits to be woken up, in a workspace of its own."""
    return api.submit(example("suspense", console_functions), {"name": "Bob"})


def kinds_of(api: Api, execution_id: str) -> list[str]:
    """Return the kinds of the events of an execution."""
    answer = api.ask("GET", f"{V1}events.json", execution_id=execution_id)
    return [each["kind"] for each in answer.body["events"]]


def test_a_failed_row_is_redone_where_it_is_and_leads_to_what_came_of_it(
    visit: Visit, api: Api, console_functions: str
) -> None:
    failed = api.submit(SHOP.format(gateway=console_functions), wait_s=60)
    page = visit.open("executions?q=status:failed")
    row(page, failed).get_by_role("button", name=re.compile("^Redo")).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(failed)
    dialog.get_by_role("button", name="Redo failed").click()
    expect(dialog).to_be_hidden()
    assert api.end(failed).status == "FAILED"
    assert "redo_requested" in kinds_of(api, failed)
    note = page.get_by_role("status").filter(has_text="Redo of 1 requested")
    assert not visit.inaccessible()
    note.get_by_role("link").click()
    expect(page.locator(".sentence")).to_contain_text("Failed at reserve")


def test_the_list_is_narrowed_to_a_workspace(
    visit: Visit, api: Api, waiting: str, console_functions: str
) -> None:
    other = api.submit(SHOP.format(gateway=console_functions), wait_s=60)
    page = visit.open()
    expect(row(page, waiting)).to_be_visible()
    page.get_by_role("combobox", name="Workspace").select_option("shop")
    expect(page).to_have_url(re.compile("q=flow%3Ashop"))
    expect(row(page, other)).to_be_visible()
    expect(row(page, waiting)).to_have_count(0)
    page.get_by_role("combobox", name="Workspace").select_option("")
    expect(row(page, waiting)).to_be_visible()


def test_the_edge_of_the_inspector_is_moved_by_keys_and_pointer(visit: Visit, waiting: str) -> None:
    page = visit.open(f"execution/{waiting}?task=approval")
    inspector = page.get_by_role("complementary")
    expect(inspector).to_be_visible()
    edge = page.get_by_role("separator")
    usual = width_of(inspector)
    edge.press("ArrowLeft")
    expect(edge).to_have_attribute("aria-valuenow", str(round(usual) + 32))
    expect(inspector).to_have_css("width", f"{usual + 32:g}px")
    box = edge.bounding_box()
    assert box is not None
    at = (box["x"] + box["width"] / 2, box["y"] + 100)
    page.mouse.move(*at)
    page.mouse.down()
    page.mouse.move(at[0] - 60, at[1], steps=4)
    page.mouse.up()
    # What a pointer moves is drawn a little later.
    page.wait_for_function(
        "([edge, least]) => least < edge.ariaValueNow && edge.ariaValueNow < least + 30",
        arg=[edge.element_handle(), usual + 80],
    )
    moved = f"{edge.get_attribute('aria-valuenow')}px"
    expect(inspector).to_have_css("width", moved)
    page.reload()
    expect(inspector).to_have_css("width", moved)  # the browser keeps it


def width_of(element: Any) -> float:
    """Return the width of an element in pixels."""
    return float(element.evaluate("element => element.getBoundingClientRect().width"))


def test_times_are_near_ones_and_exact_where_the_keyboard_is(visit: Visit, waiting: str) -> None:
    page = visit.open("executions?q=flow:examples")
    begun = row(page, waiting).locator("time")
    expect(begun).to_have_text(AGO)
    expect(begun).to_have_attribute("title", EXACT)
    page.keyboard.press("Tab")
    row(page, waiting).get_by_role("link").first.focus()
    expect(shown_time(page)).to_have_text(begun.get_attribute("title") or "none")
    page.keyboard.press("Enter")
    expect(page.locator(".sentence")).to_be_visible()
    expect(shown_time(page)).to_have_count(0)
    submitted = page.locator(".facts time")
    expect(submitted).to_have_text(AGO)
    submitted.focus()
    expect(shown_time(page)).to_have_text(EXACT)
    assert not visit.inaccessible()


def test_charts_tell_their_numbers_and_follow_the_theme(
    visit: Visit, api: Api, console_functions: str
) -> None:
    execution = api.submit(example("suspense", console_functions), {"name": "Bob"})
    page = visit.open("executions")
    expect(row(page, execution)).to_be_visible()
    assert not [name for name in loaded(page) if "operations_page" in name]
    page = visit.open("operations")
    submissions = page.get_by_role("img", name=re.compile(r"^Submissions, [^:]*: .*[1-9]"))
    failures = page.get_by_role("img", name=re.compile(r"^Failures, "))
    expect(submissions.locator("canvas")).to_be_visible()
    assert [name for name in loaded(page) if "operations_page" in name]
    page.wait_for_function(HAS_LINES, arg=submissions.element_handle())
    # From now on nothing is drawn because it is new.
    for name in ("counts", "minutes"):
        page.route(f"**/{name}.json*", lambda route: route.abort())
    caption = submissions.locator("xpath=..").locator(".told .muted")
    newest = caption.inner_text()
    submissions.hover(position={"x": 80, "y": 40})
    expect(caption).not_to_have_text(newest)
    at = caption.inner_text()
    expect(failures.locator("xpath=..").locator(".told .muted")).to_have_text(at)
    page.mouse.move(0, 0)
    expect(caption).to_have_text(newest)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(HAS_LINES, arg=submissions.element_handle())


def loaded(page: Page) -> list[str]:
    """Return the addresses of what a page has loaded."""
    names = page.evaluate("() => performance.getEntriesByType('resource').map(({name}) => name)")
    return [str(name) for name in names]


def shown_time(page: Page) -> Any:
    """Return what shows the exact time of what has the focus."""
    return page.locator(".exact-time")


def test_what_is_waited_for_is_listed_as_it_was_after_an_event(
    visit: Visit, api: Api, console_functions: str
) -> None:
    ended = api.submit(example("quickstart", console_functions), {"name": "Bob"}, wait_s=60)
    page = visit.open(f"execution/{ended}?tab=waits")
    expect(page.get_by_role("tabpanel")).to_contain_text("Nothing is waited for.")
    page = visit.open(f"execution/{ended}?tab=waits&event=1")
    page.get_by_role("button", name="greet is being called").click()
    expect(page.get_by_role("complementary")).to_contain_text("greet")
    expect(page.get_by_role("listitem").filter(has_text="shout")).to_be_visible()


def test_a_pause_tells_by_whom_and_is_undone_where_it_was_asked_for(
    browser: Browser, console: OwnStack, api: Api, waiting: str
) -> None:
    visit = Visit(browser, console.base_url)
    page = enter(visit, named_key(api, "night-shift", "operator"))
    expect(page.get_by_role("combobox", name="Search")).to_be_visible()
    page.goto(f"{console.base_url}/console#/execution/{waiting}")
    sentence = page.locator(".sentence")
    expect(sentence).to_contain_text("approval waits to be woken up")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(sentence).to_contain_text(re.compile(r"Paused by key night-shift at \d\d:\d\d:\d\d"))
    note = page.get_by_role("status").filter(has_text="Paused.")
    note.get_by_role("button", name="Undo").click()
    expect(sentence).to_contain_text("approval waits to be woken up")
    expect(page.get_by_role("status").filter(has_text="Resumed.")).to_be_visible()
    page.get_by_role("tab", name="Events").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("paused by the key night-shift")
    visit.close()


def test_a_word_that_is_no_field_is_told_with_what_may_have_been_meant(
    visit: Visit, waiting: str
) -> None:
    page = visit.open("executions?q=exmaples:suspense+status:waiting")
    told = page.get_by_role("alert")
    expect(told).to_contain_text("There is no field “exmaples”.")
    assert not visit.inaccessible()
    page.set_viewport_size({"width": 390, "height": 800})
    fits(page, 390)
    told.get_by_role("button", name="Search for examples:suspense").click()
    expect(told).to_have_count(0)
    expect(row(page, waiting)).to_be_visible()


def test_an_execution_is_redone_from_the_task_that_is_selected(
    visit: Visit, api: Api, console_functions: str
) -> None:
    ended = api.submit(example("quickstart", console_functions), {"name": "Bob"}, wait_s=60)
    page = visit.open(f"execution/{ended}")
    head = page.locator(".one-head")
    expect(head.get_by_role("button", name="Submit again")).to_be_visible()
    expect(head.get_by_role("button", name="Redo from here")).to_have_count(0)
    page.get_by_label("greet: succeeded").click()
    head.get_by_role("button", name="Redo from here").click()
    dialog = page.get_by_role("dialog", name="Redo from greet")
    expect(dialog.get_by_role("listitem")).to_have_text(["shout"])
    assert not visit.inaccessible()
    dialog.get_by_role("button", name="Redo from here").click()
    expect(dialog).to_be_hidden()
    note = page.get_by_role("status").filter(has_text="greet and what follows it run again.")
    expect(note.get_by_role("link", name="Show greet")).to_be_visible()
    assert api.end(ended).status == "SUCCEED"
    assert "redo_requested" in kinds_of(api, ended)


def test_what_each_task_wrote_is_listed_as_it_was_after_an_event(
    visit: Visit, api: Api, console_functions: str
) -> None:
    ended = api.submit(example("quickstart", console_functions), {"name": "Bob"}, wait_s=60)
    page = visit.open(f"execution/{ended}?tab=context")
    page.get_by_role("button", name="What each task wrote").click()
    written = page.get_by_role("tabpanel").get_by_role("listitem")
    expect(written).to_contain_text(["/name", "/greeting", "/shouted"])
    assert not visit.inaccessible()
    written.nth(1).get_by_role("button", name="greet").click()
    expect(page.get_by_role("complementary")).to_contain_text("greet")
    page.set_viewport_size({"width": 390, "height": 800})
    fits(page, 390)
    written.nth(1).get_by_role("button", name="event 2").click()
    expect(written).to_have_count(2)


def test_a_mapping_without_effect_is_explained_in_chinese(
    browser: Browser, console: OwnStack, api: Api, signed_in: Any, console_functions: str
) -> None:
    failed = api.submit(SHOP.format(gateway=console_functions), wait_s=60)
    visit = Visit(browser, console.base_url, storage_state=signed_in, locale="zh-CN")
    page = visit.open(f"execution/{failed}?task=reserve")
    expect(page.get_by_role("complementary")).to_contain_text("$.context.nmae 不存在")
    expect(page.locator(".facts")).to_contain_text("1 条映射警告")
    visit.close()


WARNED: Final = """
workspace: shop
dagName: warned
type: flow
tasks:
  - name: greet
    category: pass
    inputMappings:
      - {source: $.context.nmae, target: $.input.name}
      - {source: $.context.agge, target: $.input.age}
"""


def test_mappings_without_effect_are_counted_in_the_row_the_header_and_the_graph(
    visit: Visit, api: Api
) -> None:
    ended = api.submit(WARNED, {"name": "Bob"}, wait_s=60)
    page = visit.open("executions?q=flow:shop:warned")
    expect(row(page, ended)).to_contain_text("succeeded, with 2 mapping warnings")
    page = visit.open(f"executions/{ended}")  # as somebody writes who knows the id only
    expect(page.locator(".sentence")).to_contain_text(
        "All tasks have ended well, with 2 mapping warnings."
    )
    expect(page.locator(".react-flow__node")).to_contain_text("2 warnings")
    assert not visit.inaccessible()


def test_a_failure_is_told_in_plain_words_and_the_message_to_who_points_at_it(
    visit: Visit, api: Api
) -> None:
    text = SHOP.format(gateway="htpp://127.0.0.1:1")
    failed = api.submit(text.replace("dagName: order", "dagName: plain"), wait_s=60)
    page = visit.open(f"execution/{failed}?task=reserve")
    sentence = page.locator(".sentence")
    expect(sentence).to_contain_text("Failed at reserve: nothing serves the protocol htpp")
    expect(sentence.get_by_title("handle functionPattern protocol: htpp")).to_be_visible()
    expect(page.get_by_role("complementary")).to_contain_text("handle functionPattern protocol")


def test_on_a_narrow_screen_all_tabs_and_all_words_of_the_ruler_are_seen(
    visit: Visit, waiting: str
) -> None:
    page = visit.open(f"execution/{waiting}?tab=timeline")
    page.set_viewport_size({"width": 390, "height": 800})
    fits(page, 390)
    expect(page.get_by_role("tab", name="What if")).to_be_in_viewport(ratio=1)
    expect(page.locator(".tick").first).to_be_visible()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.tick')].every((tick) =>"
        " tick.getBoundingClientRect().right <= tick.parentElement.getBoundingClientRect().right)"
    )


def test_rows_that_come_into_sight_are_in_order_and_take_no_focus_with_them(
    visit: Visit, api: Api
) -> None:
    many = "workspace: rows\ndagName: many\ntype: flow\ntasks: [{name: a, category: pass}]\n"
    api.add(many)
    ids = [api.submit("rows:many") for _ in range(70)][::-1]
    visit.page.set_viewport_size({"width": 1280, "height": 500})
    page = visit.open("executions?q=flow:rows:many")
    row(page, ids[0]).get_by_role("link").first.focus()
    page.mouse.move(600, 400)
    for _ in range(30):
        page.mouse.wheel(0, 200)
        page.evaluate("() => new Promise(requestAnimationFrame)")
    expect(row(page, ids[-1])).to_be_visible()
    shown = page.locator(".execution-row:not(.head)")
    numbers = shown.evaluate_all("rows => rows.map((row) => Number(row.ariaRowIndex))")
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    uuids = [each.rpartition("_")[2][:8] for each in ids]
    assert shown.locator(".c-execution a").all_inner_texts() == uuids[numbers[0] - 2 :]
    assert page.evaluate("document.activeElement === document.body")


def test_the_console_works_below_a_path_of_a_reverse_proxy(
    browser: Browser, console: OwnStack, api: Api, waiting: str
) -> None:
    with below_a_path(console.base_url) as address:
        visit = Visit(browser, address)
        page = enter(visit, KEY)
        page.get_by_role("combobox", name="Search").fill("flow:examples")
        page.keyboard.press("Enter")
        expect(row(page, waiting)).to_be_visible()
        row(page, waiting).get_by_role("link").first.click()
        expect(page.locator(".sentence")).to_contain_text("approval waits to be woken up")
        api.ask("POST", "/flow/pause.json", execution_id=waiting)
        expect(page.locator(".sentence")).to_contain_text("Paused")  # the stream tells it
        page.get_by_role("button", name="Resume").click()
        page.get_by_role("dialog").get_by_role("button", name="Resume").click()
        expect(page.locator(".sentence")).to_contain_text("approval waits to be woken up")
        visit.close()


def test_an_address_that_is_opened_on_the_way_in_is_shown_afterwards(
    browser: Browser, console: OwnStack, waiting: str
) -> None:
    visit = Visit(browser, console.base_url)
    page = visit.open()
    expect(page.get_by_label("API key")).to_be_visible()
    page.evaluate("id => { location.hash = `#/execution/${id}` }", waiting)
    page.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    expect(page.locator(".sentence")).to_contain_text("approval waits to be woken up")
    visit.close()
