"""Each number of the specification that code, tests and documents cite can be looked up.

A citation is the word ``spec`` and the numbers of sections (headings of ``docs/spec``) or of
quirks (rows of its eighth chapter).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT: Final = Path(__file__).parents[2]
SPEC: Final = ROOT / "docs" / "spec"
CITING: Final = ("rillflow", "serve", "tests", "examples", "docs")
KINDS: Final = frozenset({".py", ".md", ".toml", ".yaml"})

_HEADING: Final = re.compile(r"^#{1,4} (\d+(?:\.\d+)*) (.+)$", re.MULTILINE)
_QUIRK: Final = re.compile(r"^\| (Q\d+) \|", re.MULTILINE)
# Lines may break inside a citation, also in a comment.
_GAP: Final = r"\s+(?:#:?\s+)?"
_NUMBER: Final = r"(?:Q\d+|\d+(?:\.\d+)+)"
_MORE: Final = rf"(?:(?:,{_GAP}(?:and{_GAP})?|{_GAP}(?:and|to){_GAP})(?:{_NUMBER}|\d+(?=\))))"
_CITATION: Final = re.compile(rf"\bspec{_GAP}(?:{_NUMBER}|\d+){_MORE}*")
_ANY_NUMBER: Final = re.compile(r"Q\d+|\d+(?:\.\d+)*")
# Put together, so that this file does not use them.
_OTHER_SPELLINGS: Final = re.compile(
    "|".join(("SEMANT" + "ICS", "OPENFA" + "AS", "CASES" + r"\.md", r"\(Q\d", "\u00a7"))
)
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


class Citation(NamedTuple):
    """A number that a text cites, and the line where the citation begins."""

    line: int
    number: str


def numbers() -> set[str]:
    """Return the numbers that can be cited."""
    found: set[str] = set()
    for page in SPEC.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        found.update(number for number, _ in _HEADING.findall(text))
        found.update(_QUIRK.findall(text))
    return found


def citations(text: str) -> Iterator[Citation]:
    """Yield every number that a text cites."""
    for match in _CITATION.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        for number in _ANY_NUMBER.findall(match.group()):
            yield Citation(line, number)


def wrong(text: str, known: set[str]) -> list[Citation]:
    """Return the citations of a text that lead nowhere."""
    return [cited for cited in citations(text) if cited.number not in known]


def test_every_citation_can_be_looked_up() -> None:
    known = numbers()
    missing = [
        f"{path.relative_to(ROOT)}:{line}: {number}"
        for path in _citing_files()
        for line, number in wrong(_text(path), known)
    ]
    assert not missing


def test_there_is_one_spelling_of_citations() -> None:
    others = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in _citing_files()
        if path.name != "CHANGELOG.md" and SPEC not in path.parents
        for number, line in enumerate(_text(path).splitlines(), start=1)
        if _OTHER_SPELLINGS.search(line)
    ]
    assert not others


def test_code_tests_and_documents_cite_the_specification() -> None:
    citing = {path.relative_to(ROOT).parts[0] for path in _citing_files() if _cites(path)}
    assert {"rillflow", "serve", "tests"} <= citing


@pytest.mark.parametrize(
    ("text", "lines_and_numbers"),
    [
        ("as it says (spec ~99.1).", [(1, "99.1")]),
        ("# as it says\n# (spec 3.10, Q1 and ~99.1)", [(2, "99.1")]),
        ("As it says (spec\n    ~99.1 to 3.10), or spec ~Q999.", [(1, "99.1"), (2, "Q999")]),
        ("a whole chapter (spec 6), and another one (spec ~77)", [(1, "77")]),
        ("(spec 5.3, ~66)", [(1, "66")]),
        ("spec 3.10 and 5 attempts, spec 1.4, 10 s", []),
    ],
)
def test_a_number_that_does_not_exist_is_reported(
    text: str, lines_and_numbers: list[tuple[int, str]]
) -> None:
    # The tilde keeps this file from citing these numbers itself.
    assert wrong(text.replace("~", ""), numbers()) == lines_and_numbers


def test_chapters_follow_each_other_and_no_number_is_used_twice() -> None:
    used = [
        number for page in SPEC.glob("[0-9]*.md") for number, _ in _HEADING.findall(_text(page))
    ]
    assert len(used) == len(set(used))
    chapters = {number.partition(".")[0] for number in used}
    assert chapters == {str(chapter) for chapter in range(1, len(chapters) + 1)}
    for number in used:
        before, _, last = number.rpartition(".")
        assert not before or last == "1" or f"{before}.{int(last) - 1}" in used
    quirks = _QUIRK.findall(_text(next(SPEC.glob("8-*.md"))))
    assert quirks == [f"Q{number}" for number in range(1, len(quirks) + 1)]


def test_the_index_names_every_section() -> None:
    index = _text(SPEC / "README.md")
    sections = [
        f"| {number} | [{title}]({page.name}"
        for page in SPEC.glob("[0-9]*.md")
        for number, title in _HEADING.findall(_text(page))
    ]
    assert sections
    assert not [section for section in sections if section not in index]


def test_every_link_of_the_specification_leads_somewhere() -> None:
    broken = [
        f"{page.name}: {link}"
        for page in SPEC.glob("*.md")
        for link in _LINK.findall(_text(page))
        if "://" not in link and not _leads_somewhere(page, link)
    ]
    assert not broken


def _leads_somewhere(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = (page.parent / name).resolve() if name else page
    return target.is_file() and (not anchor or anchor in _anchors(_text(target)))


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def _citing_files() -> Iterator[Path]:
    yield from ROOT.glob("*.md")
    for folder in CITING:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in KINDS and path.is_file():
                yield path


def _cites(path: Path) -> bool:
    return next(citations(_text(path)), None) is not None


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
