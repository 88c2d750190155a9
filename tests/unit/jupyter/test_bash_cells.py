"""Scripts of cells: which names they have, in which quotes, and what is refused."""

from __future__ import annotations

import pytest
from IPython.core.error import UsageError

from parslab.bodies.bash_cell import BashCell, Field, words
from parslab.jupyter.bash_cells.quotes import ShellQuotes
from parslab.jupyter.bash_cells.task import BashCellTask, parts_of


def fields(script: str) -> list[tuple[str, str]]:
    return [(part.name, part.quotes) for part in parts_of(script) if isinstance(part, Field)]


def test_doubled_braces_are_braces_of_bash() -> None:
    assert parts_of("f() {{ echo ${{HOME}} {{1..3}}; }}") == ["f() { echo ${HOME} {1..3}; }"]
    assert parts_of("{{{a}}}") == ["{", Field("a"), "}"]
    assert parts_of("") == []


@pytest.mark.parametrize(
    ("script", "quotes"),
    [
        ("echo {x}", ""),
        ('echo "{x}"', '"'),
        ("echo '{x}'", "'"),
        ("echo $'{x}'", "$'"),
        ("echo '\"{x}'", "'"),
        ('echo "\'{x}"', '"'),
        ('echo \\"{x}', ""),
        ("echo \\'{x}", ""),
        ("echo 'a\\'{x}", ""),
        ('echo "a\\"{x}"', '"'),
        ('echo "$(cat {x})"', ""),
        ('echo "$(cat "{x}")"', '"'),
        ('echo "$(cat (a) b)" {x} ', ""),
        ('echo "`cat {x}`"', ""),
        ("echo $(( {x} + 1 ))", ""),
        ('echo "$(( 1 << 2 ))" {x}', ""),
        ("# it's a comment\necho {x}", ""),
        ("echo a#'b {x}'", "'"),
        ("case a in a) echo {x};; esac", ""),
        ("cat <<EOF\nit's {x}\nEOF", '"'),
        ("cat <<-EOF\n\ta\n\tEOF\necho {x}", ""),
        ("cat <<A <<B\n'\nA\n'\nB\necho {x}", ""),
        ("cat <<'EOF'\n'\nEOF\necho {x}", ""),
        ("cat <<< 'a'\necho {x}", ""),
        ('echo "<<EOF"\necho {x}', ""),
        ("echo $((1<<3))\necho {x}", ""),
    ],
)
def test_the_quotes_around_a_name(script: str, quotes: str) -> None:
    assert fields(script) == [("x", quotes)]


def test_comments_are_left_alone() -> None:
    assert parts_of("echo a # {b} ${c} {") == ["echo a # {b} ${c} {"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("true\nawk '{print $1}'", "Line 2 of the cell: {print $1} is no name of the notebook. A brace of bash"),
        ("echo {", "Line 1 of the cell: { is no name"),
        ("echo }", "Line 1 of the cell: } is no name"),
        ("echo {}", "{} is no name"),
        ("echo {a.b}", "{a.b} is no name"),
        (
            "echo ${x}",
            r"${x} is neither the notebook's name, which is {x}, nor the variable of bash, which is $x or ${{x}}",
        ),
        ("cat <<'EOF'\n{x}\nEOF", "Line 2 of the cell: {x} stands where bash replaces nothing"),
    ],
)
def test_wrong_braces_are_refused_with_their_line(script: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        parts_of(script)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [("a b", "a b"), (5, "5"), (0.1, "0.1"), (True, "True"), (b"\xff", "\udcff"), ([1, "x"], ["1", "x"]), ((), [])],
)
def test_values_that_a_shell_has_a_form_for(value: object, shown: object) -> None:
    assert words("x", value) == shown


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "x is of type NoneType, which a shell has no form for"),
        ({}, "x is of type dict"),
        ([1, [2]], r"x\[1\] is of type list"),
        (["a", "b\0"], r"x\[1\] has a null character"),
        ("\ud800", "x cannot be written in a script"),
    ],
)
def test_values_that_a_shell_has_no_form_for_are_named(value: object, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said):
        words("x", value)
    with pytest.raises(UsageError, match=said):
        BashCellTask("echo {x}", 1, {"x": value})


def test_a_name_that_does_not_exist_is_named() -> None:
    with pytest.raises(UsageError, match="The notebook has no name 'y'"):
        BashCellTask("echo {x} {y}", 1, {"x": 1})


def test_the_identity_of_a_cell_is_that_of_its_text() -> None:
    one, other = BashCell(("a", Field("x")), "In [1]", 1), BashCell(("a", Field("x")), "In [2]", 3)
    assert one._parslab_identity(False, True) == other._parslab_identity(False, True)


def test_lines_are_counted_as_in_the_cell() -> None:
    script = BashCell(("false\n", Field("x")), ahead=3).script({"x": "a\nb"})
    assert script.splitlines()[3] == "false"
    assert len(script.splitlines()) == 5


def test_quotes_are_known_after_each_piece() -> None:
    quotes = ShellQuotes()
    seen = []
    for piece in ('echo "', "$(", "'", "'", ")", '"'):
        quotes.read(piece)
        seen.append(quotes.around)
    assert seen == ['"', "", "'", "", '"', ""]
