"""The style of libraries that wrap Parsl's decorators in their own: jobs, flows, and memoization of their types."""

from functools import wraps

import parsl
from parsl.config import Config
from parsl.dataflow.dependency_resolvers import DEEP_DEPENDENCY_RESOLVER
from parsl.dataflow.memoization import BasicMemoizer, id_for_memo
from parsl.executors import HighThroughputExecutor
from parsl.utils import get_last_checkpoint


class Atoms:
    def __init__(self, symbols):
        self.symbols = symbols


def id_of_atoms(atoms, output_ref=False):
    return atoms.symbols.encode()


id_for_memo.register(Atoms)(id_of_atoms)


def with_resources(function, walltime=None, parsl_resource_specification=None):
    resources = parsl_resource_specification or {}

    def wrapper(*args, walltime=walltime, parsl_resource_specification=resources, **kwargs):
        return function(*args, **kwargs)

    wrapper.__name__ = function.__name__
    return wrapper


def job(function=None, **options):
    def decorate(function):
        from parsl import python_app

        special = options.keys() & {"walltime", "parsl_resource_specification"}
        resources = {name: options.pop(name) for name in special}
        return python_app(with_resources(function, **resources), **options)

    return decorate if function is None else decorate(function)


def flow(function):
    return function


def subflow(function):
    from parsl import join_app

    return join_app(with_resources(function))


def strip(decorated):
    from parsl.app.python import PythonApp

    return decorated.func if isinstance(decorated, PythonApp) else decorated


@job(walltime=60, parsl_resource_specification={})
def relax(atoms):
    return {"atoms": Atoms(atoms.symbols + "*"), "energy": len(atoms.symbols)}


@job(cache=True)
def static(atoms):
    with open("calls.txt", "a") as file:
        file.write("x")
    return {"energy": -len(atoms.symbols)}


@job
def total(results):
    return sum(result["energy"] for result in results)


@job
def defects(atoms):
    return [Atoms(atoms.symbols + str(number)) for number in range(3)]


@subflow
def on_each(all_atoms):
    return [static(atoms) for atoms in all_atoms]


@flow
def workflow(atoms):
    relaxed = relax(atoms)
    return total([static(relaxed["atoms"]), *[static(Atoms("H"))], {"energy": 10}])


def config():
    return Config(
        executors=[HighThroughputExecutor(max_workers_per_node=2)],
        dependency_resolver=DEEP_DEPENDENCY_RESOLVER,
        run_dir="runs",
        memoizer=BasicMemoizer(checkpoint_mode="task_exit"),
        max_idletime=20,
    )


@wraps(config)
def main():
    kernel = parsl.load(config())
    assert strip(relax)(Atoms("Cu"))["energy"] == 2
    assert not hasattr(strip(on_each), "func")
    assert workflow(Atoms("Cu")).result() == -3 - 1 + 10
    assert static(Atoms("H")).result() == {"energy": -1}
    assert [result["energy"] for result in on_each(defects(Atoms("Cu"))).result()] == [-3, -3, -3]
    with open("calls.txt") as file:
        assert len(file.read()) == 5
    kernel.cleanup()
    parsl.clear()
    assert len(get_last_checkpoint("runs")) == 1
    print("done")


if __name__ == "__main__":
    main()
