"""Scripts of cells with values filled in, run by bash: each value arrives as it is, wherever its name stands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from parslab.bodies.bash_cell import BashCell, run_bash_cell
from parslab.data_provider.files import File
from parslab.errors import BashExitFailure
from parslab.jupyter.bash_cells.task import parts_of

if TYPE_CHECKING:
    from collections.abc import Callable

ODD = ["a b", "", "'", '"', "\\", "$(touch hacked)", "`touch hacked`", "$HOME", "a\nb", "a\r\n", "*",
       "-n; touch hacked", "\\'$(touch hacked)", "'; touch hacked; '", '"; touch hacked; "', "é€",
       "EOF\ntouch hacked\nEOF", "!", "~", "#x"]  # fmt: skip


def run(script: str, **values: Any) -> int:
    return run_bash_cell(BashCell(tuple(parts_of(script, 2)), "In [1]"), **values)


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize(
    "script",
    [
        "printf %s {x} > out",
        'printf %s "{x}" > out',
        "printf %s '{x}' > out",
        "printf %s $'{x}' > out",
        "printf '%s' a{x}b > out",
        'printf "%s" "$(printf %s {x}.)" > out',
        "cat <<EOF > out\n{x}\nEOF",
        "y={x}; printf %s \"$y\" > out",
        "f() {{ printf %s \"$1\"; }}; f {x} > out",
    ],
)  # fmt: skip
def test_a_value_arrives_as_it_is(tmp_path: Path, script: str, value: str) -> None:
    run(script, x=value)
    expected = f"a{value}b" if "a{x}b" in script else f"{value}." if "{x}." in script else value
    expected += "\n" if "EOF" in script else ""
    assert Path("out").read_bytes().decode() == expected
    assert not (tmp_path / "hacked").exists()


def test_lists_and_paths_and_numbers(capfd: pytest.CaptureFixture[str]) -> None:
    run("printf '<%s>' {xs} {n} {f} \"{xs}\"", xs=["a b", "c"], n=5, f=File("/x y"))
    assert capfd.readouterr().out == "<a b><c><5></x y><a b c>"


def test_braces_of_bash(capfd: pytest.CaptureFixture[str]) -> None:
    run("x=1; echo ${{x}} {{1..3}}; f() {{ echo in; }}; f; awk '{{print $2}}' <<< 'a b'")
    assert capfd.readouterr().out == "1 1 2 3\nin\nb\n"


def test_a_failure_names_the_cell_and_the_line() -> None:
    with pytest.raises(BashExitFailure) as failed:
        run("true\nno-such-command {x}\n", x="a\nb")
    assert failed.value.exitcode == 127
    assert str(failed.value).startswith("bash app In [1] ended with exit status 127")
    assert "In [1]: line 3: no-such-command" in failed.value.stderr_tail


def test_a_value_that_only_the_worker_knows_is_checked_there() -> None:
    with pytest.raises(TypeError, match="x is of type dict, which a shell has no form for"):
        run("echo {x}", x={})


@pytest.mark.parametrize("make", [lambda: "x" * 300_000, lambda: ["y"] * 100_000])
def test_long_values(make: Callable[[], Any], capfd: pytest.CaptureFixture[str]) -> None:
    value = make()
    run("for word in {x}; do printf %s $word; done", x=value)
    assert capfd.readouterr().out == "".join(value)
