"""Every decision is a page of docs/decisions in one form, in its index, with a test that exists."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
DECISIONS: Final = ROOT / "docs" / "decisions"
SECTIONS: Final = [
    "Status",
    "Context",
    "Decision",
    "Evidence",
    "Consequences",
    "Test that holds it",
]
LINES: Final = ["Status", "Decision", "Evidence", "Test"]
HEADING: Final = re.compile(r"^## (.+)$", re.MULTILINE)
LINE: Final = re.compile(r"^- \*\*(\w+):\*\*\s+\S", re.MULTILINE)
FENCE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE: Final = re.compile(r"`([^`]+)`")
TEST: Final = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
CONTRACT: Final = re.compile(r"import contract `([^`]+)`")
MODULE: Final = re.compile(r"(?<![\w/.~-])[\w/.-]+\.py\b")
PLACE: Final = re.compile(r"(?<![\w/$.~-])(?:rillflow|serve|tests|docs|examples)/[\w./-]*")
LINK: Final = re.compile(r"\]\(([\w./-]+\.md)(?:#([\w-]+))?\)")
ENTRY: Final = re.compile(
    r"^\| \[([^\]]+)\]\(([\w-]+\.md(?:#[\w-]+)?)\) \| .+ \| \w+ \|$", re.MULTILINE
)
BY_NUMBER: Final = re.compile(r"\bdecision [0-9]|ARCHITECTURE(?:\.md)?,? (?:decision|[0-9])")
CITED: Final = re.compile(r"docs/decisions/[\w/.-]+\.md")
CITING: Final = ("rillflow", "serve", "tests", "docs", "examples")

TOPICS: Final = sorted(folder for folder in DECISIONS.iterdir() if folder.is_dir())
PAGES: Final = sorted(
    page for page in DECISIONS.glob("*/*.md") if page.stem not in {"README", "small"}
)
SHORT: Final = [
    (page, heading)
    for page in sorted(DECISIONS.glob("*/small.md"))
    for heading in HEADING.findall(page.read_text(encoding="utf-8"))
]
EVERYTHING: Final = sorted(DECISIONS.rglob("*.md"))


def _name(value: object) -> str:
    return str(value.relative_to(DECISIONS)) if isinstance(value, Path) else str(value)


def test_no_decision_lies_outside_a_topic() -> None:
    assert [page.name for page in DECISIONS.glob("*.md")] == ["README.md"]
    index = (DECISIONS / "README.md").read_text(encoding="utf-8")
    assert [topic.name for topic in TOPICS if f"]({topic.name}/README.md)" not in index] == []


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_page_has_its_sections_in_their_order(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    assert text.startswith("# ")
    assert HEADING.findall(text) == SECTIONS
    assert all(_section(text, section).strip() for section in SECTIONS)


@pytest.mark.parametrize(("page", "heading"), SHORT, ids=_name)
def test_a_short_decision_has_its_lines_in_their_order(page: Path, heading: str) -> None:
    assert LINE.findall(_section(page.read_text(encoding="utf-8"), heading)) == LINES


@pytest.mark.parametrize("topic", TOPICS, ids=_name)
def test_an_index_has_each_decision_of_its_topic_once_and_no_other(topic: Path) -> None:
    pages = [(_title(page), page.name) for page in PAGES if page.parent == topic]
    short = [
        (heading, f"small.md#{_anchor(heading)}") for page, heading in SHORT if page.parent == topic
    ]
    listed = ENTRY.findall((topic / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(pages + short)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_a_page_names_a_test_that_exists(page: Path) -> None:
    _check_tests(_section(page.read_text(encoding="utf-8"), SECTIONS[-1]))


@pytest.mark.parametrize(("page", "heading"), SHORT, ids=_name)
def test_a_short_decision_names_a_test_that_exists(page: Path, heading: str) -> None:
    section = _section(page.read_text(encoding="utf-8"), heading)
    _check_tests(section.partition("- **Test:**")[2])


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_the_evidence_of_a_page_names_a_command_or_a_test(page: Path) -> None:
    assert CODE.search(_section(page.read_text(encoding="utf-8"), "Evidence"))


@pytest.mark.parametrize(("page", "heading"), SHORT, ids=_name)
def test_the_evidence_of_a_short_decision_names_a_command_or_a_test(
    page: Path, heading: str
) -> None:
    section = _section(page.read_text(encoding="utf-8"), heading)
    assert CODE.search(section.partition("- **Evidence:**")[2].partition("- **Test:**")[0])


@pytest.mark.parametrize("page", EVERYTHING, ids=_name)
def test_what_a_page_refers_to_exists(page: Path) -> None:
    """A module is named by its whole path, so that a move of the module is a move in the page."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    named = {
        path
        for code in CODE.findall(text)
        for path in (*MODULE.findall(code), *PLACE.findall(code))
    }
    assert sorted(path for path in named if not (ROOT / path).exists()) == []
    links = LINK.findall(text)
    assert [link for link in links if not _leads_somewhere(page, *link)] == []


@pytest.mark.parametrize("page", EVERYTHING, ids=_name)
def test_every_named_test_exists(page: Path) -> None:
    for file, test in TEST.findall(page.read_text(encoding="utf-8")):
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{test}"


def test_decisions_are_cited_by_their_pages_and_not_by_numbers() -> None:
    texts = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for path in (*ROOT.glob("*.md"), *(p for name in CITING for p in _texts(ROOT / name)))
        if path != Path(__file__)
    }
    assert [name for name, text in texts.items() if BY_NUMBER.search(text)] == []
    cited = {page for text in texts.values() for page in CITED.findall(text)}
    assert [page for page in sorted(cited) if not (ROOT / page).is_file()] == []


def _texts(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.suffix in {".py", ".md"})


def _title(page: Path) -> str:
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _check_tests(text: str) -> None:
    contracts = CONTRACT.findall(" ".join(text.split()))
    assert contracts or TEST.search(text), "neither a test nor an import contract is named"
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert [name for name in contracts if f'name = "{name}"' not in project] == []


def _section(text: str, heading: str) -> str:
    return text.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _leads_somewhere(page: Path, target: str, anchor: str) -> bool:
    path = page.parent / target
    if not path.is_file():
        return False
    headings = HEADING.findall(path.read_text(encoding="utf-8"))
    return not anchor or anchor in {_anchor(heading) for heading in headings}
