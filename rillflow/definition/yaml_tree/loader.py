"""The YAML loader: from text to a tree with source texts and places (spec 1.1).

The only module that reads YAML. It takes the events of PyYAML's C parser and builds its own nodes
without recursion, so the source text of every scalar is kept until the target type is known, and
hostile text (deep nesting, alias bombs, repeated keys) is refused while it is read. Aliases are
expanded; ``<<`` is a key like any other.

Used by `cli/checking.py`, `client/definitions.py` and `definition`.
"""

import re
from collections.abc import Callable
from itertools import islice
from typing import Any, ClassVar, Final

import yaml

from rillflow.definition.yaml_tree.nodes import (
    Mapping,
    Mark,
    Node,
    Place,
    Scalar,
    Sequence,
    place_of,
    refuse,
    shown,
)
from rillflow.errors import DefinitionError, Problem

MAX_TEXT_BYTES: Final = 645120
"""Size of the largest definition that may be added (spec 6.5)."""

LARGEST_TEXT_BYTES: Final = 16 * MAX_TEXT_BYTES
"""Size of the largest definition where a switch says that its length is not checked."""

BYTES_PER_NODE: Final = 5
"""A text may have a key or value for every so many bytes of the size limit, not more.

No task can be written shorter, and a text of nothing but ``[],`` would take a second and
100 MB.
"""

MAX_NESTING: Final = 200
"""Deepest nesting of lists and maps; enough for 40 levels of choices."""

MAX_EXPANSION: Final = 100_000
"""How much aliases may add, in nodes plus characters."""

MAX_PATTERNS: Final = 200
"""Limit of the regular expressions of a definition; each may take 5 ms and 60 KB to compile."""

MAX_TAG_DIRECTIVES: Final = 8
"""Limit of ``%TAG``; libyaml compares each with all before, and every tag with all of them."""

EMPTY: Final = 30401
TOO_LONG: Final = 30508

# Where a line of YAML begins: after a break, or a mark of the byte order.
_TAG_DIRECTIVE: Final = re.compile(rb"(?:^|[\n\r]|\xc2\x85|\xe2\x80[\xa8\xa9]|\xef\xbb\xbf)%TAG")
_STANDARD_TAG: Final = "tag:yaml.org,2002:"
_BAD_ESCAPE: Final = "found invalid Unicode character escape code"
_SURROGATE_PAIR: Final = re.compile(
    r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
)


def load(text: str | bytes | None, *, max_bytes: int = MAX_TEXT_BYTES) -> Node:
    """Read one YAML (or JSON) document.

    Raises:
        DefinitionError: The text is empty (30401), larger than ``max_bytes`` (30508) or
            unreadable (30402, with line and column in the message), which it is as well
            when it has more keys and values than texts of ``max_bytes`` may have.
    """
    if not text:
        raise DefinitionError(EMPTY, "dag descriptor empty.")
    data = _utf8(text)
    if len(data) > max_bytes:
        message = f"dag info length:{len(data)} exceed the limit"
        hint = f"a definition may have up to {max_bytes} bytes"
        raise DefinitionError(TOO_LONG, message, (Problem(TOO_LONG, message, hint=hint),))
    _refuse_tag_directives(data)
    try:
        return _compose(data, max_bytes // BYTES_PER_NODE)
    except yaml.MarkedYAMLError as error:
        if error.problem == _BAD_ESCAPE and (joined := _join_surrogates(data)) != data:
            return load(joined, max_bytes=max_bytes)
        refuse(_sentence(error), _place_of_error(error))
    except yaml.reader.ReaderError as error:
        refuse(str(error.reason), _place_at(data, error.position))


class _Composer:
    """Builds nodes from events, with the open containers on a stack."""

    def __init__(self, max_nodes: int) -> None:
        self.root: Node | None = None
        self._max_nodes = max_nodes
        self._nodes = 0
        self._parent: Sequence | Mapping | None = None
        self._key: Scalar | None = None
        self._outer: list[tuple[Sequence | Mapping | None, Scalar | None, str | None]] = []
        self._named: dict[str, Node] = {}
        self._expansion = 0
        self._patterns = 0
        self._place = Place(1, 1)

    def take(self, event: yaml.Event) -> None:
        """Take the next event of the stream."""
        take = self._TAKERS.get(type(event))
        if take is not None:
            take(self, event)

    def _document(self, event: Any) -> None:
        self._place = place_of(event.start_mark)

    def _scalar(self, event: Any) -> None:
        if "=~" in event.value:
            self._patterns += event.value.count("=~")
            if self._patterns > MAX_PATTERNS:
                place = place_of(event.start_mark)
                refuse(f"more than {MAX_PATTERNS} regular expressions (=~)", place)
        tag = event.tag
        if tag is None:
            node = Scalar(event.value, event.start_mark, bool(event.style))
        elif tag == "!":
            node = Scalar(event.value, event.start_mark, quoted=True)
        else:
            tag = tag.removeprefix(_STANDARD_TAG)
            node = Scalar(event.value, event.start_mark, bool(event.style), tag)
        if event.anchor is not None:
            self._named[event.anchor] = node
        self._add(node)

    def _sequence(self, event: Any) -> None:
        self._open(Sequence(event.start_mark), event.anchor)

    def _mapping(self, event: Any) -> None:
        self._open(Mapping(event.start_mark), event.anchor)

    def _open(self, node: Sequence | Mapping, anchor: str | None) -> None:
        if len(self._outer) >= MAX_NESTING:
            refuse(f"nested deeper than {MAX_NESTING} levels", node.place)
        self._refuse_as_key(node, node.mark)
        self._outer.append((self._parent, self._key, anchor))
        self._parent = node
        self._key = None

    def _close(self, _: yaml.Event) -> None:
        node = self._parent
        self._parent, self._key, anchor = self._outer.pop()
        if node is not None:
            if anchor is not None:
                self._named[anchor] = node
            self._add(node)

    def _alias(self, event: Any) -> None:
        mark = event.start_mark
        place = place_of(mark)
        node = self._named.get(event.anchor)
        if node is None:
            refuse(f"alias *{event.anchor} stands for nothing that ended before it", place)
        if len(self._outer) + node.height > MAX_NESTING:
            refuse(f"alias *{event.anchor} nests deeper than {MAX_NESTING} levels", place)
        self._expansion += node.size
        if self._expansion > MAX_EXPANSION:
            refuse(f"aliases expand to more than {MAX_EXPANSION} nodes and characters", place)
        self._refuse_as_key(node, mark)
        self._add(node)

    def _add(self, node: Node) -> None:
        self._nodes += 1
        if self._nodes > self._max_nodes:
            refuse(f"more than {self._max_nodes} keys and values", node.place)
        parent = self._parent
        if parent is None:
            self._add_document(node)
            return
        parent.size += node.size
        if node.height >= parent.height:
            parent.height = node.height + 1
        if isinstance(parent, Sequence):
            parent.items.append(node)
        elif self._key is not None:
            parent.entries[self._key.text] = node
            self._key = None
        elif isinstance(node, Scalar):
            if node.text in parent.keys:
                first = parent.keys[node.text].place.line
                refuse(f"key {shown(node.text)} was there already, in line {first}", node.place)
            parent.keys[node.text] = self._key = node

    def _add_document(self, node: Node) -> None:
        """Take a whole document; nothing may come after the first, as a last ``---`` leaves it."""
        if self.root is None:
            self.root = node
        elif not (isinstance(node, Scalar) and node.is_null):
            refuse("a definition is one document, a second one starts", self._place)

    def _refuse_as_key(self, node: Node, mark: Mark) -> None:
        if isinstance(self._parent, Mapping) and self._key is None and not isinstance(node, Scalar):
            refuse("a key must be text, not a list or map", place_of(mark))

    _TAKERS: ClassVar[dict[type[yaml.Event], Callable[["_Composer", Any], None]]] = {
        yaml.DocumentStartEvent: _document,
        yaml.ScalarEvent: _scalar,
        yaml.SequenceStartEvent: _sequence,
        yaml.MappingStartEvent: _mapping,
        yaml.SequenceEndEvent: _close,
        yaml.MappingEndEvent: _close,
        yaml.AliasEvent: _alias,
    }


def _compose(data: bytes, max_nodes: int) -> Node:
    composer = _Composer(max_nodes)
    for event in yaml.parse(data, Loader=yaml.CSafeLoader):
        composer.take(event)
    if composer.root is None:
        refuse("the text holds no definition", Place(1, 1))
    return composer.root


def _refuse_tag_directives(data: bytes) -> None:
    found = islice(_TAG_DIRECTIVE.finditer(data), MAX_TAG_DIRECTIVES, None)
    if directive := next(found, None):
        place = _place_at(data, directive.end() - len(b"%TAG"))
        refuse(f"more than {MAX_TAG_DIRECTIVES} %TAG directives", place)


def _utf8(text: str | bytes) -> bytes:
    try:
        if isinstance(text, str):
            return text.encode()
        text.decode()
    except UnicodeEncodeError as error:
        before = error.object[: error.start]
        refuse("half a surrogate pair is not text", _place_after(before))
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()
        refuse("the bytes are not UTF-8", _place_after(before))
    return text


def _join_surrogates(data: bytes) -> bytes:
    # JSON writes characters beyond U+FFFF as two escapes, which YAML does not know.
    def join(match: re.Match[str]) -> str:
        pair = bytes.fromhex(match[2] + match[3])
        return match[1] + pair.decode("utf-16-be")

    return _SURROGATE_PAIR.sub(join, data.decode()).encode()


def _sentence(error: yaml.MarkedYAMLError) -> str:
    return ", ".join(part for part in (error.context, error.problem) if part)


def _place_of_error(error: yaml.MarkedYAMLError) -> Place:
    mark = error.problem_mark or error.context_mark
    return Place(1, 1) if mark is None else place_of(mark)


def _place_at(data: bytes, offset: int) -> Place:
    return _place_after(data[:offset].decode(errors="replace"))


def _place_after(before: str) -> Place:
    return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))
