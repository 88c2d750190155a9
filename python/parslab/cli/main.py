"""The command ``parslab`` and its subcommands.

The module imports only argparse until the subcommand is known, so that each command starts fast.  A mistake of the user
gives one sentence on stderr and exit status 1, or 2 if the command line itself is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from parslab.errors import ConfigurationError
from parslab.records.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.data_provider.globus_login import GlobusAuth

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.call(options) or 0)
    except ConfigurationError as error:
        print(f"parslab: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as a shell reports it
    except BrokenPipeError:  # `parslab logs | head`
        # Python flushes stdout at exit, and would report the closed pipe a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "parslab", description="Runs of parslab, their logs, and configurations for clusters."
    )
    words = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    runs = words.add_parser("runs", help="your live runs on this host")
    runs.set_defaults(call=_runs)

    logs = words.add_parser("logs", help="what a run has logged, and its blocks have printed")
    logs.add_argument("run", nargs="?", default="", metavar="RUN", help="a live run, or the folder of any; the newest")
    logs.add_argument("file", nargs="?", default="", metavar="FILE", help="one of its files; without it: dfk.log")
    logs.add_argument("-l", "--list", action="store_true", help="list the files instead")
    logs.add_argument("-n", "--lines", type=int, default=50, metavar="N", help="the last N lines (50); 0: all")
    logs.add_argument("-f", "--follow", action="store_true", help="print new lines as they are written")
    logs.set_defaults(call=_logs)

    attach = words.add_parser("attach", help="watch a run, which does not end while a client is attached")
    attach.add_argument("run", nargs="?", default="", metavar="RUN", help="a live run; the newest")
    attach.set_defaults(call=_attach)

    stop = words.add_parser("stop", help="end a run: its tasks, its workers, its blocks")
    stop.add_argument("run", nargs="?", default="", metavar="RUN")
    stop.add_argument("--all", action="store_true", help="all of your runs on this host")
    stop.set_defaults(call=_stop)

    _doctor_words(words.add_parser("doctor", help="try a configuration step by step, and say what is wrong"))
    _report_words(words.add_parser("report", help="write a page and a JSON summary of a run"))
    _compare_words(words.add_parser("compare", help="two runs side by side: tasks, failures and times of each app"))
    _export_words(words.add_parser("export", help="write the tasks of a run for other programs"))
    _import_words(words.add_parser("import-monitoring", help="read the runs in a monitoring database of Parsl"))
    _usage_words(words.add_parser("usage", help="show what usage reports would tell; they are off by default"))
    _migrate_words(words.add_parser("migrate", help="what differs for programs that were written for Parsl"))
    _kube_words(words.add_parser("kube", help="what a configuration would create in a Kubernetes cluster"))
    _config_words(words.add_parser("config", help="ready configurations, and files of this site"))
    _environments_words(words.add_parser("environments", help="the Python environments that tasks have asked for"))
    _globus_words(words.add_parser("globus", help="log in to Globus, for transfers and for Globus Compute"))
    version = words.add_parser("version", help="the version of parslab, of Python and of the packages that it uses")
    version.set_defaults(call=_version)
    return parser


def _doctor_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", default="", metavar="FILE|NAME", help="without it: what load() takes")
    parser.add_argument("-e", "--executor", default="", metavar="LABEL", help="only this executor")
    parser.add_argument("-n", "--dry-run", action="store_true", help="show the job script, submit nothing")
    parser.add_argument("-t", "--timeout", type=float, default=900.0, metavar="S", help="wait so long for a job (900)")
    parser.set_defaults(call=_doctor)


def _report_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", nargs="?", default="", metavar="RUN", help="a live run, or the folder of any; the newest"
    )
    parser.add_argument(
        "-o", "--output", default="", metavar="FOLDER", help="where to write; without it: the run's folder"
    )
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of the summary instead")
    parser.set_defaults(call=_report)


def _compare_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="RUN", help="a live run, or the folder of any")
    parser.add_argument("second", metavar="RUN", help="the run that is compared with it")
    parser.set_defaults(call=_compare)


def _export_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", nargs="?", default="", metavar="RUN", help="a live run, or the folder of any; the newest"
    )
    kinds = "jsonl or csv: a line for each task; dot or mermaid: the graph; trace: for ui.perfetto.dev"
    parser.add_argument("-f", "--format", default="jsonl", metavar="FORMAT", help=kinds)
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="where to write; without it: stdout")
    parser.set_defaults(call=_export)


def _import_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("database", metavar="FILE", help="Parsl's monitoring.db, which is only read")
    parser.add_argument("--run-dir", default="", metavar="FOLDER", help="where the runs go; without it: beside FILE")
    parser.set_defaults(call=_import)


def _usage_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", default="", metavar="FILE|NAME", help="without it: what load() takes")
    parser.add_argument("-l", "--level", type=int, choices=(1, 2, 3), help="show this level")
    parser.set_defaults(call=_usage)


def _migrate_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="a program, a notebook or a folder; nothing is changed or run")
    parser.set_defaults(call=_migrate)


def _config_words(parser: argparse.ArgumentParser) -> None:
    words = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    words.add_parser("list", help="the ready configurations").set_defaults(call=_config_list)
    show = words.add_parser("show", help="print one")
    show.add_argument("name", metavar="NAME")
    show.set_defaults(call=_config_show)
    copy = words.add_parser("copy", help="copy one, to be edited")
    copy.add_argument("name", metavar="NAME")
    copy.add_argument("file", nargs="?", default="", metavar="FILE", help="NAME.py in this folder, if left out")
    copy.set_defaults(call=_config_copy)
    words.add_parser("site", help="what this site and the environment set").set_defaults(call=_config_site)


def _kube_words(parser: argparse.ArgumentParser) -> None:
    words = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    template = words.add_parser("template", help="print the pods and the secret of a block; nothing is created")
    template.add_argument("config", nargs="?", default="", metavar="FILE|NAME", help="without it: what load() takes")
    template.add_argument("-e", "--executor", default="", metavar="LABEL", help="only this executor")
    template.set_defaults(call=_kube_template)


def _globus_words(parser: argparse.ArgumentParser) -> None:
    words = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    login = words.add_parser("login", help="show a link and ask for the code that Globus gives")
    login.add_argument("--force", action="store_true", help="ask in any case, such as for another account")
    login.set_defaults(call=_globus_login)
    logout = words.add_parser("logout", help="revoke the tokens and remove them from this host")
    logout.set_defaults(call=_globus_logout)
    for command in (login, logout):
        command.add_argument("--client-id", metavar="ID", help="the application; without it: GLOBUS_CLIENT_ID")
        command.add_argument("--service", action="append", metavar="NAME", help="transfer (without it) or compute")
        command.add_argument("--collection", action="append", default=[], metavar="ID", help="one that needs a consent")


def _environments_words(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(call=_environments)
    words = parser.add_subparsers(title="commands", metavar="COMMAND")
    words.add_parser("list", help="the environments of this host; without a command, too")
    remove = words.add_parser("remove", help="remove some that no run uses")
    remove.add_argument("name", nargs="*", metavar="NAME", help="the beginning of a name")
    remove.add_argument("--all", action="store_true", help="all of them")
    remove.set_defaults(call=_environments_remove)
    prune = words.add_parser("prune", help="remove those that were not used for long; runs do this, too")
    prune.add_argument("--days", type=float, default=30.0, metavar="N", help="not used for N days (30)")
    prune.add_argument("--size", type=float, default=20.0, metavar="GB", help="the oldest beyond so many GB (20)")
    prune.set_defaults(call=_environments_prune)


def _runs(options: argparse.Namespace) -> None:
    from parslab.cli import runs

    runs.show_runs()


def _logs(options: argparse.Namespace) -> None:
    from parslab.cli import runs

    folder = runs.folder_of(options.run)
    if options.list:
        runs.list_files(folder)
    else:
        runs.show_file(runs.file_in(folder, options.file), options.lines, options.follow)


def _attach(options: argparse.Namespace) -> int:
    from parslab.cli import watching

    return watching.watch(options.run or None)


def _stop(options: argparse.Namespace) -> int:
    from parslab.cli import runs

    if bool(options.run) == options.all:
        raise ConfigurationError("Name one run, or --all: parslab stop RUN.")
    return runs.stop(options.run)


def _doctor(options: argparse.Namespace) -> int:
    from parslab.cli.doctor import examine

    return examine(options.config, options.executor, options.dry_run, options.timeout)


def _report(options: argparse.Namespace) -> None:
    from parslab.cli import report

    if options.schema:
        report.show_schema()
    else:
        report.write(options.run, options.output)


def _compare(options: argparse.Namespace) -> None:
    from parslab.cli import report

    report.compare(options.first, options.second)


def _export(options: argparse.Namespace) -> None:
    from parslab.client.exports import export

    export(options.run, options.format, options.output or sys.stdout)


def _import(options: argparse.Namespace) -> int:
    from parslab.cli.report import import_runs

    return import_runs(options.database, options.run_dir)


def _usage(options: argparse.Namespace) -> None:
    from parslab.cli.usage import show_usage

    show_usage(options.config, options.level)


def _migrate(options: argparse.Namespace) -> int:
    from parslab.cli.migrate import migrate

    return migrate(options.path)


def _environments(options: argparse.Namespace) -> None:
    from parslab.cli import environments

    environments.show()


def _environments_remove(options: argparse.Namespace) -> int:
    from parslab.cli import environments

    return environments.remove(options.name, options.all)


def _environments_prune(options: argparse.Namespace) -> None:
    from parslab.cli import environments

    environments.prune(options.days, options.size)


def _config_list(options: argparse.Namespace) -> None:
    from parslab.sites import names, summary

    width = max(map(len, names()))
    for name in names():
        print(f"{name:<{width}}  {summary(name)}")


def _config_show(options: argparse.Namespace) -> None:
    from parslab.sites import file_of

    sys.stdout.write(file_of(options.name).read_text(encoding="utf-8"))


def _config_copy(options: argparse.Namespace) -> None:
    from parslab.sites import file_of

    text = file_of(options.name).read_text(encoding="utf-8")
    target = options.file or f"{options.name}.py"
    if os.path.isdir(target):
        target = os.path.join(target, f"{options.name}.py")
    try:
        # Mode x never overwrites a file that the user may have edited.
        with open(target, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(f"{target} is there already, and is left as it is: name another file.") from None
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written: {error.strerror or error}.") from error
    print(f"Edit {target}, try it with `parslab doctor {target}`, load it with `%parsl load {target}`.")


def _config_site(options: argparse.Namespace) -> None:
    from parslab.defaults import CONFIG_VARIABLE, FILE_NAME, VARIABLES, site
    from parslab.sites import check_site

    there = site()
    for path in reversed(there.files):
        print(path)
    if not there.files:
        from jupyter_core.paths import jupyter_config_path

        print(f"There is no {FILE_NAME} in any of {', '.join(jupyter_config_path())}.")
    for name, settings in sorted(there.sections().items()):
        for option, (value, place) in sorted(settings.items()):
            print(f"{name}.{option} = {value!r}   ({place})")
    if there.config is not None:
        print(f"load() takes: {there.config!r}   ({there.config_file})")
    for variable in (*VARIABLES, CONFIG_VARIABLE):
        if os.environ.get(variable):
            print(f"{variable}={os.environ[variable]}")
    check_site()


def _kube_template(options: argparse.Namespace) -> None:
    from parslab.cli.kube import show_template

    show_template(options.config, options.executor)


def _globus_auth(options: argparse.Namespace) -> GlobusAuth:
    from parslab.data_provider.globus_login import GlobusAuth

    return GlobusAuth(options.client_id, tuple(options.service or ("transfer",)), tuple(options.collection))


def _globus_login(options: argparse.Namespace) -> None:
    _globus_auth(options).login(options.force)
    print("Logged in to Globus.")


def _globus_logout(options: argparse.Namespace) -> None:
    _globus_auth(options).logout()
    print("Logged out of Globus.")


def _version(options: argparse.Namespace) -> None:
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    from parslab.version import version

    print(f"parslab {version()}, Python {platform.python_version()} ({sys.executable}), {platform.platform()}")
    for package in ("pyzmq", "msgspec", "cloudpickle", "traitlets", "ipykernel", "jupyterlab"):
        try:
            print(f"{package} {version_of(package)}")
        except PackageNotFoundError:
            print(f"{package} is not installed")
