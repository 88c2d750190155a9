"""A notebook is recognised by its session and its file; a path alone never leads to the run of another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parslab.wire.notebooks import NotebookPlace, file_id, moved_to, same_notebook

if TYPE_CHECKING:
    from pathlib import Path

UNTITLED = NotebookPlace("/books/Untitled.ipynb", "1:10", "a")


@pytest.mark.parametrize(
    ("mine", "lives", "same"),
    [
        (NotebookPlace("/books/Untitled.ipynb", "1:11", "b"), True, False),  # a new one, after the first was renamed
        (NotebookPlace("/books/Untitled.ipynb", "1:11", "b"), False, False),
        (NotebookPlace("/books/fit.ipynb", "1:10", "a"), True, True),  # renamed, and its kernel restarted
        (NotebookPlace("/books/Untitled.ipynb", "1:11", "a"), False, True),  # whose environment still has the old path
        (NotebookPlace("/books/fit.ipynb", "1:10", "c"), False, True),  # renamed, closed and opened again
        (NotebookPlace("/books/fit.ipynb", "1:10", "c"), True, False),  # a second session while the first one lives
        (NotebookPlace("/books/Untitled.ipynb", "", "c"), True, False),  # its file cannot be seen from here
        (NotebookPlace("/books/Untitled.ipynb", "", "c"), False, True),
        (NotebookPlace("/books/other.ipynb", "", "c"), False, False),
        (NotebookPlace(), False, False),
    ],
)
def test_whose_run_it_is(mine: NotebookPlace, lives: bool, same: bool) -> None:
    assert same_notebook(mine, UNTITLED, kernel_lives=lives) is same


def test_a_file_that_git_has_replaced_is_the_same_notebook() -> None:
    mine = NotebookPlace(UNTITLED.path, "1:11", "b")
    assert same_notebook(mine, UNTITLED, kernel_lives=False, replaced=True)
    assert not same_notebook(mine, UNTITLED, kernel_lives=True, replaced=True)


def test_a_name_that_the_user_has_chosen_identifies() -> None:
    name = NotebookPlace("nightly")
    assert same_notebook(name, name, kernel_lives=True)
    assert not same_notebook(NotebookPlace("weekly"), name, kernel_lives=False)


def test_a_renamed_file_is_found(tmp_path: Path) -> None:
    old, new = tmp_path / "Untitled.ipynb", tmp_path / "fit.ipynb"
    old.write_text("{}")
    file = file_id(str(old))
    assert moved_to(str(old), file) == ""
    old.rename(new)
    assert file_id(str(old)) == ""
    assert moved_to(str(old), file) == str(new)
    old.write_text("another")
    assert moved_to(str(old), file) == str(new)
    new.unlink()
    assert moved_to(str(old), file) == ""
