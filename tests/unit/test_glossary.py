"""Names are made of words that the glossary explains, or that need no explanation.

A word that is in neither list is a metaphor of our own, or a term that the glossary lacks.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from rillflow import errors

ROOT: Final = Path(__file__).parents[2]
ORDINARY: Final = Path(__file__).with_name("ordinary_words.txt")
WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
TERM: Final = re.compile(r"^\| ([a-z][a-z -]+) \|", re.MULTILINE)
PACKAGES: Final = ("rillflow", "serve")


def terms() -> list[str]:
    found = TERM.findall((ROOT / "GLOSSARY.md").read_text(encoding="utf-8"))
    return [term for term in found if term != "word"]


def singular(word: str) -> str:
    return word.removesuffix("s")


def words_of(name: str) -> list[str]:
    return [word.lower() for word in WORD.findall(name)]


@cache
def named() -> tuple[tuple[str, str], ...]:
    """Return each module and class of the code: where it is, and its name."""
    return tuple(_named())


def _named() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            place = str(path.relative_to(ROOT))
            yield place, path.parent.name if path.stem in {"__init__", "__main__"} else path.stem
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    yield place, node.name


def ordinary() -> list[str]:
    return ORDINARY.read_text(encoding="utf-8").split()


def test_the_glossary_has_each_word_once_and_in_order() -> None:
    rows = re.findall(
        r"^\| ([a-z][^|]*) \|", (ROOT / "GLOSSARY.md").read_text("utf-8"), re.MULTILINE
    )
    assert rows[1:] == sorted(set(rows[1:]))


def test_the_tree_of_errors_names_every_error() -> None:
    tree = set(re.findall(r"\b[A-Z]\w*Error\b", errors.__doc__ or ""))
    assert tree == {
        name
        for name, one in vars(errors).items()
        if isinstance(one, type) and issubclass(one, errors.RillflowError)
    }


def test_names_of_modules_and_classes_are_made_of_known_words() -> None:
    known = {singular(word) for term in terms() for word in re.split("[ -]", term)}
    known |= {singular(word) for word in ordinary()}
    strange = {
        f"{place}: {name} ({word})"
        for place, name in named()
        for word in words_of(name)
        if singular(word) not in known
    }
    assert not strange, "put the word into GLOSSARY.md, or use one that is there"


def test_no_ordinary_word_is_listed_that_no_name_has() -> None:
    used = {singular(word) for _, name in named() for word in words_of(name)}
    assert [word for word in ordinary() if singular(word) not in used] == []
    assert ordinary() == sorted(set(ordinary()))


def test_code_or_documents_use_every_term_of_the_glossary() -> None:
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    files += [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    text = " ".join(path.read_text(encoding="utf-8").lower() for path in files)
    text = re.sub(r"[_\s-]+", " ", text)
    unused = [term for term in terms() if term.replace("-", " ") not in text]
    assert not unused


def test_a_metaphor_of_our_own_would_be_noticed() -> None:
    known = {singular(word) for term in terms() for word in re.split("[ -]", term)}
    known |= {singular(word) for word in ordinary()}
    assert not known & {"errand", "desk", "door", "resident", "borrowing", "lane", "home"}
