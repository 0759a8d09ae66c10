"""Decoding of text in a declared charset, with bounded cost.

Python has codecs that are not charsets, one of them (``punycode``) with quadratic cost, and caches
every unknown name for ever. So a charset is looked up only if its name is in a list of those in
use.

Used by `gateways/callbacks`, `gateways/http` and `serve/schemas`.
"""

import codecs
import re
from typing import Final

_CHARSET: Final = re.compile(r"charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)
_OF_TEXT: Final = re.compile(
    r"(?:us-?)?ascii|utf-?(?:8|16|32)(?:-?[lb]e)?|iso-?8859-?(?:1[0-6]?|[2-9])|latin-?1"
    r"|(?:windows|cp)-?(?:125[0-8]|9(?:32|36|49|50))|koi8-[ru]|gbk|gb2312|gb18030"
    r"|big5(?:-hkscs)?|s(?:hift-?)?jis|windows-31j|euc-(?:jp|kr)|iso-2022-(?:jp|kr)"
)
_MARKS: Final = (
    # The mark of UTF-32 begins like that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)

_FIRST_OF_MARKS: Final = frozenset(mark[:1] for mark, _ in _MARKS)
_UTF_8: Final = ("", "utf-8", "utf8", "us-ascii")


def declared_charset(content_type: str) -> str:
    """Return the charset that a ``Content-Type`` names, empty without one."""
    match = _CHARSET.search(content_type)
    return match[1].lower().replace("_", "-") if match else ""


def decoded(content: bytes, charset: str) -> str | None:
    """Decode text; None if the charset is unknown or the bytes are not valid in it."""
    if not _OF_TEXT.fullmatch(charset):
        return None
    try:
        return content.decode(charset)
    except (LookupError, UnicodeError):
        return None


def in_utf8(content: bytes, content_type: str) -> bytes:
    """Return text as UTF-8 without a byte order mark; what cannot be decoded stays as it is.

    A byte order mark decides, else the charset of ``content_type``; without either the text is
    UTF-8 already.
    """
    charset = ""
    if content[:1] in _FIRST_OF_MARKS:
        charset = next((name for mark, name in _MARKS if content.startswith(mark)), "")
    if charset == "utf-8-sig":
        return content.removeprefix(codecs.BOM_UTF8)
    charset = charset or declared_charset(content_type)
    text = None if charset in _UTF_8 else decoded(content, charset)
    return content if text is None else text.encode(errors="replace")
