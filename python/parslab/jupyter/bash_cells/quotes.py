"""``ShellQuotes`` reads a script for bash and knows at each place which quotes are around it [core].

It knows quotes, command substitutions, comments and here-documents, and no more of the grammar. Where it is wrong, a
value is split into words or keeps its quotes, but bash never evaluates it (see ``bodies.bash_cell``).
"""

from __future__ import annotations

import re

__all__ = ["ShellQuotes"]

_HERE = re.compile(r"<<(-?)[ \t]*(?:'([^'\n]+)'|\"([^\"\n]+)\"|(\\?)([^\s;&|<>()'\"`\\]+))")
_CODE, _DOUBLE, _SINGLE, _ANSI, _BACKTICK, _COMMENT = "code", '"', "'", "$'", "`", "#"


class ShellQuotes:
    """The quotes around the end of what was read so far."""

    def __init__(self) -> None:
        self._stack = [_CODE]
        self._depths = [0]
        """Open parentheses in each level of code."""
        self._here: list[tuple[str, bool, bool]] = []
        """The here-documents that begin at the next line: the word, whether tabs are removed, whether it is quoted."""
        self._in_here = False
        self._line = ""
        """The current line of a here-document."""
        self._code = ""
        """The current line of the script."""
        self._marks: list[int] = []
        """Where ``<<`` stands in it outside of quotes."""
        self._escaped = False

    @property
    def in_comment(self) -> bool:
        """Whether this is a comment."""
        return not self._in_here and self._stack[-1] == _COMMENT

    @property
    def around(self) -> str | None:
        """The quotes here: ``"``, ``'``, ``$'`` or none; None where bash expands nothing and quotes do not end."""
        if self._in_here:
            return None if self._here[0][2] else _DOUBLE
        top = self._stack[-1]
        return top if top in (_DOUBLE, _SINGLE, _ANSI) else ""

    def read(self, text: str) -> None:
        """Go on after some more of the script."""
        for character in text:
            if self._in_here:
                self._read_here(character)
            else:
                self._read(character)

    def _read_here(self, character: str) -> None:
        if character != "\n":
            self._line += character
            return
        word, tabs, _ = self._here[0]
        if (self._line.lstrip("\t") if tabs else self._line) == word:
            del self._here[0]
            self._in_here = bool(self._here)
        self._line = ""

    def _read(self, character: str) -> None:
        top, line = self._stack[-1], self._code
        self._code = "" if character == "\n" else line + character
        if top == _COMMENT:
            if character != "\n":
                return
            self._stack.pop()
        elif self._escaped:
            self._escaped = False
            self._code = f"{line[:-1]}  "  # what is escaped begins nothing
            return
        elif character == "\\" and top != _SINGLE:
            self._escaped = True
            return
        elif top in (_SINGLE, _ANSI):
            if character == "'":
                self._stack.pop()
            return
        if character == "\n":
            self._begin_here(line)
        elif not self._closes(character, top):
            self._opens(character, top, line)

    def _begin_here(self, line: str) -> None:
        """At the end of a line: find the here-documents that it announces."""
        for mark in self._marks:
            found = _HERE.match(line, mark)
            word = found and (found[2] or found[3] or found[5])
            if found and word and not word[0].isdigit():  # a number is shifted by a number
                self._here.append((word, bool(found[1]), bool(found[2] or found[3] or found[4])))
        self._marks.clear()
        self._in_here = bool(self._here)

    def _closes(self, character: str, top: str) -> bool:
        if character == top and top in (_DOUBLE, _BACKTICK):
            self._stack.pop()
            return True
        if character == ")" and top == _CODE:
            if self._depths[-1]:
                self._depths[-1] -= 1
            elif len(self._depths) > 1:
                self._depths.pop()
                self._stack.pop()
            return True
        return False

    def _opens(self, character: str, top: str, line: str) -> None:
        if character == "(" and line.endswith("$"):
            self._stack.append(_CODE)
            self._depths.append(0)
        elif character in (_BACKTICK, _DOUBLE):
            self._stack.append(character)
        elif top == _DOUBLE:
            return
        elif character == "(" and top == _CODE:
            self._depths[-1] += 1
        elif character == "'":
            self._stack.append(_ANSI if line.endswith("$") else _SINGLE)
        elif character == "#" and (not line or line[-1] in " \t;&|("):
            self._stack.append(_COMMENT)
        elif character == "<" and line.endswith("<"):
            if line.endswith("<<"):  # <<< is a here-string
                del self._marks[-1:]
            else:
                self._marks.append(len(line) - 1)
