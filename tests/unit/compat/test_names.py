"""Every name of Parsl's API is found at Parsl's path, and costs nothing until somebody asks for it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from parslab.compat.modules import ParslModule, find_spec, look_up
from parslab.compat.names import MODULES, TARGETS, target

PACKAGE = Path(__file__).parents[3] / "python"


def run(code: str) -> str:
    """Run a program in an interpreter that finds parslab and its dependencies, and nothing of this process."""
    code = f"import sys; sys.path[:] = {[str(PACKAGE), *sys.path]!r}\n{code}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", sorted(MODULES))
@pytest.mark.filterwarnings("ignore::parslab.errors.IgnoredOption")
def test_every_name_is_found_at_its_path(module: str) -> None:
    found = import_module(".".join(filter(None, ("parslab", module))))
    for name, (where, here) in TARGETS[module].items():
        assert getattr(found, name) == getattr(import_module(where), here) or module.startswith("configs.")


def test_a_program_that_imports_parsl_gets_the_same_objects() -> None:
    code = """
import json, parslab
parslab.install_as_parsl()
import parsl
from parsl.dataflow.errors import DependencyError
from parsl.providers.slurm.slurm import SlurmProvider
from parslab.compat.names import TARGETS
from importlib import import_module
for module, names in TARGETS.items():
    there = import_module(".".join(filter(None, ("parsl", module))))
    for name, (where, here) in names.items():
        if not module.startswith("configs."):
            assert getattr(there, name) is getattr(import_module(where), here), (module, name)
assert DependencyError is parslab.errors.DependencyError
assert parsl.providers.SlurmProvider is SlurmProvider is parslab.SlurmProvider
assert parsl.providers.slurm.__name__ == "parsl.providers.slurm"
assert parsl.load is parslab.load and parsl.__version__ == parslab.__version__
assert not any(name.startswith("parsl.") and type(m).__name__ != "ParslModule" for name, m in sys.modules.items())
from parsl import *
assert python_app is parslab.python_app
print(json.dumps(sorted(n for n in dir(parsl) if n == "dfk")))
"""
    assert json.loads(run(code)) == ["dfk"]


def test_modules_load_what_they_name_only_when_it_is_asked_for() -> None:
    code = "import parslab.dataflow.errors, parslab.jobs.states; print(*sorted(sys.modules))"
    loaded = {name for name in run(code).split() if name.startswith("parslab")}
    assert not {name for name in loaded if name.startswith(("parslab.client", "parslab.parsl", "parslab.errors"))}


@pytest.mark.parametrize("package", ["parslab", "parsl"])
def test_a_submodule_is_an_attribute_without_an_import(package: str) -> None:
    code = f"""
import parslab
parslab.install_as_parsl()
import {package} as parsl
from parslab.compat.names import MODULES
from operator import attrgetter
for module in filter(None, MODULES):
    assert attrgetter(module)(parsl).__name__ == f"{package}.{{module}}", module
"""
    assert run(code) == ""


def test_names_that_nobody_has_are_refused() -> None:
    with pytest.raises(AttributeError, match=r"module 'parslab\.dataflow\.errors' has no attribute 'Nothing'"):
        look_up("dataflow.errors", "Nothing")
    with pytest.raises(AttributeError, match=r"module 'parsl\.dataflow\.errors' has no attribute 'Nothing'"):
        ParslModule("parsl.dataflow.errors").Nothing  # noqa: B018
    assert find_spec("parslab.no_such_module") is None
    assert find_spec("other.dataflow") is None
    assert target("dataflow.errors", "Nothing") is None
    with pytest.raises(ModuleNotFoundError):
        import_module("parslab.no_such_module")


def test_parsl_itself_is_never_half_replaced() -> None:
    code = """
from types import ModuleType
sys.modules["parsl"] = ModuleType("parsl")
import parslab
try:
    parslab.install_as_parsl()
except ImportError as error:
    print(error)
"""
    assert "before the first `import parsl`" in run(code)
