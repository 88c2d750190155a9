"""The page of a report: whole, closed, and safe whatever the names of a run are."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from parslab.errors import ConfigurationError
from parslab.monitoring.report.page import page
from parslab.monitoring.report.writing import write_report
from tests.unit.monitoring.report.made_runs import MadeRun

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = '</td></style><script>alert("1")</script><img src=x onerror=alert(2)>\x1b[2J\u202e&amp;'

EMPTY = {"meta", "br", "rect", "polygon", "polyline"}


class Tags(HTMLParser):
    """Checks that every element is closed where it was opened, and gathers elements and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.attributes: set[str] = set()
        self.values: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.values += [value or "" for _, value in attrs]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def full(folder: Path, name: str) -> MadeRun:
    """A run with something in every part of the report; every text is ``name``."""
    made = MadeRun(folder)
    made.run(run=name, host=name, run_dir=name, executors=[name], ended=200.0, reason=name, version=name)
    made.task(0, (101.0, 101.0, 102.0, 103.0, 110.0), app=name, shown=name, worker=name)
    made.task(1, (101.0, 110.0, 112.0, 113.0, 120.0), 0, app=name, shown=name, worker=name, state="failed", error=name)
    made.task(2, (101.0, 101.0, 112.0, 113.0, 114.0), app=name, worker=name, attempt=1)
    made.attempt(1, 0, name, (113.0, 120.0), name)
    made.attempt(2, 0, name, (102.0, 103.0), name)
    made.block(name, 100.0, 101.0, 190.0, state=name, reason=name, executor=name)
    made.manager(name, name, 4, host=name, executor=name)
    made.worker(f"w{name}", host=name)
    made.notice(1, "warning", name)
    return made


def test_the_page_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    text = page(full(tmp_path, "plain").summary())
    tags = Tags(text)
    assert tags.seen & {"script", "link", "img", "iframe", "object", "embed", "form", "base"} == set()
    assert {"src", "href"} & tags.attributes == set()
    assert not any(name.startswith("on") for name in tags.attributes)
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'; style-src 'unsafe-inline'" in text
    headings = re.findall("<h2>(.*?)</h2>", text)
    assert headings == [
        "Over time",
        "Critical path",
        "All tasks together",
        "Apps",
        "Failures",
        "Slowest tasks",
        "Workers",
        "Blocks",
        "Warnings of the run",
    ]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    text = page(full(tmp_path, HOSTILE).summary())
    tags = Tags(text)
    assert tags.seen & {"script", "img"} == set()
    assert not any(name.startswith("on") for name in tags.attributes)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count("<style>") == text.count("</style>") == 1
    assert "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;" in text


def test_people_who_see_nothing_hear_the_drawings(tmp_path: Path) -> None:
    text = page(full(tmp_path, "plain").summary())
    drawings = re.findall(r"<svg[^>]*>", text)
    assert all('role="img" aria-label="' in drawing or 'aria-hidden="true"' in drawing for drawing in drawings)
    assert text.count("<table>") == text.count("<caption>") == text.count('role="region"')
    assert '<html lang="en">' in text


def test_the_files_are_private_and_stay_in_the_folder(tmp_path: Path) -> None:
    made = full(tmp_path, "../../etc/passwd")
    report = write_report(made.file, tmp_path / "new" / "out", alive=False)
    assert report.html == tmp_path / "new" / "out" / "report-.._.._etc_passwd.html"
    assert [path.stat().st_mode & 0o777 for path in (report.html, report.json)] == [0o600, 0o600]
    again = write_report(made.file, tmp_path / "new" / "out", alive=False)
    assert (again, len(list(report.html.parent.iterdir()))) == (report, 2)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigurationError, match=r"The report cannot be written to .*file .*: name another folder"):
        write_report(made.file, blocked, alive=False)
