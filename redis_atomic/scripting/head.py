"""
The head of a script: its ``#!lua`` line, and what the comments above the code declare.

Only words and their lines are found here; ``signature`` says what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ..exceptions import InvalidScript

SECTIONS = ("keys", "args", "returns", "errors", "flags", "undeclared")

COMMENT = re.compile(r"\s*--(?:\[(=*)\[(?P<block>.*?)\]\1\]|(?P<line>[^\n]*))", re.DOTALL)
SECTION = re.compile(rf"({'|'.join(SECTIONS)})\s*:(.*)")
#: What people write instead; taken for prose it would be silently ignored.
NEARLY = re.compile(r"(key|arg|return|error|flag)(?:ument)?s?\s*:", re.IGNORECASE)
REMARK = re.compile(r"\s--\s.*")
SHEBANG = re.compile(r"#!lua(?:\s+flags=(?P<flags>\S*))?\s*")


class Word(NamedTuple):
    """A word of a declaration, and the line that it stands on."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Head:
    """The words of each section, and the flags of the ``#!lua`` line (None: no such line)."""

    sections: dict[str, list[Word]]
    shebang: frozenset[str] | None

    @property
    def is_empty(self) -> bool:
        return not self.sections


def read_head(text: str, path: str | None = None) -> Head:
    """Find the declarations; InvalidScript, with file and line, where they can't be read."""
    shebang = _shebang(text, path)
    start = text.find("\n") + 1 if shebang is not None else 0
    sections: dict[str, list[Word]] = {}
    for line, comment in _comment_lines(text, start):
        if match := SECTION.match(comment):
            words = REMARK.sub("", match[2]).split()
            sections.setdefault(match[1], []).extend(Word(word, line) for word in words)
        elif match := NEARLY.match(comment):
            raise InvalidScript(
                f"{match[0]!r} declares nothing: write '{match[1].lower()}s:' "
                "(and if this is a remark, begin the line with another word).",
                file=path,
                line=line,
            )
    return Head(sections, shebang)


def _shebang(text: str, path: str | None) -> frozenset[str] | None:
    if not text.lstrip().startswith("#!"):
        return None
    first = text.partition("\n")[0]
    if not text.startswith("#!"):
        message = "'#!lua' must be the very first line: remove what is above it."
        raise InvalidScript(message, file=path, line=1)
    match = SHEBANG.fullmatch(first)
    if match is None:
        message = f"Redis refuses {first.strip()!r}: write '#!lua' or '#!lua flags=no-writes'."
        raise InvalidScript(message, file=path, line=1)
    return frozenset(filter(None, (match["flags"] or "").split(",")))


def _comment_lines(text: str, start: int) -> Iterator[tuple[int, str]]:
    """Number and text of each comment line above the first line of code."""
    while match := COMMENT.match(text, start):
        group = "line" if match["block"] is None else "block"
        first = text.count("\n", 0, match.start(group)) + 1
        for offset, comment in enumerate(match[group].split("\n")):
            yield first + offset, comment.strip().lstrip("-").lstrip()
        start = match.end()
