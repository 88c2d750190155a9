"""Defaults of a site: files on Jupyter's config path and PARSLAB_* variables, below what the user's code says."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING

import pytest

from parslab import defaults
from parslab.config import Config
from parslab.description import decoded, encoded
from parslab.errors import ConfigurationError
from parslab.executors import LowLatencyExecutor, ThreadPoolExecutor
from parslab.sites import check_site, default_config, named_config

if TYPE_CHECKING:
    from pathlib import Path


class Folders:
    """Jupyter's config path in a test: a strong folder before a weak one."""

    def __init__(self, root: Path) -> None:
        self.strong, self.weak = root / "strong", root / "weak"
        self._writes = 0
        for folder in (self.strong, self.weak):
            folder.mkdir()

    def write(self, folder: Path, text: str) -> Path:
        path = folder / defaults.FILE_NAME
        path.write_text(text)
        self._writes += 1  # a clock that is too coarse must not hide a change
        os.utime(path, ns=(self._writes * 10**9, self._writes * 10**9))
        return path


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    made = Folders(tmp_path)
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", os.pathsep.join(map(str, (made.strong, made.weak))))
    for name in (*defaults.VARIABLES, defaults.CONFIG_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return made


def test_a_file_gives_defaults_to_what_is_left_out(folders: Folders) -> None:
    folders.write(folders.weak, "c.Config.retries = 3\nc.ThreadPoolExecutor.max_threads = 7\n")
    assert Config().retries == 3
    assert Config(retries=1).retries == 1
    assert Config(retries=0).retries == 0
    assert ThreadPoolExecutor() == ThreadPoolExecutor(max_threads=7)
    assert repr(ThreadPoolExecutor()) == "ThreadPoolExecutor(max_threads=7)"


def test_the_folder_named_first_wins_and_others_fill_in(folders: Folders) -> None:
    folders.write(folders.weak, "c.Config.retries = 1\nc.Config.max_idletime = 30\n")
    folders.write(folders.strong, "c.Config.retries = 2\n")
    made = Config()
    assert (made.retries, made.max_idletime) == (2, 30)
    assert defaults.config_files() == [str(f / defaults.FILE_NAME) for f in (folders.weak, folders.strong)]


def test_a_base_class_gives_defaults_to_those_below(folders: Folders) -> None:
    folders.write(folders.weak, "c.Executor.label = 'both'\nc.ThreadPoolExecutor.label = 'pool'\n")
    assert LowLatencyExecutor().label == "both"
    assert ThreadPoolExecutor().label == "pool"


def test_the_executor_that_nobody_names_takes_them_too(folders: Folders) -> None:
    folders.write(folders.weak, "c.LowLatencyExecutor.workers = 3\n")
    assert Config() == Config(executors=[LowLatencyExecutor(workers=3)])
    assert "workers=3" in repr(Config())


def test_variables_stand_above_files_and_below_code(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    folders.write(folders.weak, "c.Config.retries = 1\n")
    monkeypatch.setenv("PARSLAB_RETRIES", " 4 ")
    monkeypatch.setenv("PARSLAB_RUN_DIR", "/scratch/me")
    assert (Config().retries, Config().run_dir) == (4, "/scratch/me")
    assert Config(retries=2).retries == 2
    monkeypatch.setenv("PARSLAB_RETRIES", "many")
    with pytest.raises(ConfigurationError, match=r"^PARSLAB_RETRIES: Config: retries must be a whole number .*'many'"):
        Config()


def test_every_variable_is_documented_and_names_an_option() -> None:
    import parslab

    for variable, (name, option, _) in defaults.VARIABLES.items():
        assert f"``{variable}``" in str(defaults.__doc__)
        if name in parslab.__all__:
            assert option in getattr(parslab, name).option_names()


def test_what_is_copied_keeps_its_own_values(folders: Folders) -> None:
    """A copy is equal to the original, whatever the defaults are where it is made."""
    before = [Config(), ThreadPoolExecutor(), LowLatencyExecutor(workers=2)]
    kept = [pickle.dumps(made) for made in before]
    data = [encoded(made) for made in before]
    folders.write(folders.weak, "c.Config.retries = 3\nc.Executor.label = 'x'\nc.ThreadPoolExecutor.max_threads = 9\n")
    assert [pickle.loads(text) for text in kept] == before
    assert [decoded(one) for one in data] == before
    assert ThreadPoolExecutor.bare().replaced(max_threads=5).label == "threads"
    site_made = ThreadPoolExecutor()
    assert pickle.loads(pickle.dumps(site_made)) == site_made


def test_a_changed_file_is_read_again(folders: Folders) -> None:
    folders.write(folders.weak, "c.Config.retries = 1\n")
    assert Config().retries == 1
    folders.write(folders.weak, "c.Config.retries = 2\n")
    assert Config().retries == 2


def test_load_takes_the_configuration_of_the_site(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_config() == Config()
    folders.write(
        folders.weak,
        "from parslab import Config, ThreadPoolExecutor\n"
        "c.ThreadPoolExecutor.max_threads = 6\n"
        "config = Config(executors=[ThreadPoolExecutor()], retries=1)\n",
    )
    assert default_config() == Config(executors=[ThreadPoolExecutor(max_threads=6)], retries=1)
    monkeypatch.setenv("PARSLAB_CONFIG", "laptop")
    assert [executor.label for executor in default_config().executors] == ["llex"]
    monkeypatch.setenv("PARSLAB_CONFIG", "nowhere")
    with pytest.raises(ConfigurationError, match=r"^PARSLAB_CONFIG=nowhere: There is no ready configuration 'nowhere'"):
        default_config()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\nc.Config.retries =\n", "line 2): SyntaxError: invalid syntax."),
        ("x = 1\n\nimport no_such_module_here\n", "line 3): ModuleNotFoundError: No module named"),
        ("c.Config = 3\n", "line 1): c.Config is a class: set its options"),
        ("y = c.Config.retries\n", "line 1): c.Config.retries has not been set before it is read."),
        ("from parslab import Config\nconfig = Config(retrys=1)\n", "line 2): Config has no option 'retrys'"),
    ],
)
def test_broken_file_is_reported_in_one_sentence(folders: Folders, text: str, says: str) -> None:
    path = folders.write(folders.weak, text)
    for _ in range(2):  # the second time as well
        with pytest.raises(ConfigurationError) as caught:
            Config()
        text = str(caught.value)
        assert text.startswith(f"The site's configuration cannot be used ({path}, ")
        assert says in text
        assert text.endswith(".")
        assert "\n" not in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\nc.Config.retrys = 1\n", "line 2: Config has no option 'retrys'"),
        ("c.Config.retries = 'x'\n", "line 1: Config: retries must be a whole number"),
        (
            "c.LowLatencyExecuter.workers = 1\n",
            "there is no class LowLatencyExecuter; did you mean c.LowLatencyExecutor?",
        ),
    ],
)
def test_what_is_misspelt_is_found_before_it_is_needed(folders: Folders, text: str, says: str) -> None:
    path = folders.write(folders.weak, text)
    with pytest.raises(ConfigurationError) as caught:
        check_site()
    assert str(caught.value).startswith(f"{path}, line ")
    assert says in str(caught.value)


def test_options_of_classes_that_come_later_are_left_alone(folders: Folders) -> None:
    folders.write(folders.weak, "c.OtherPackagesProvider.colour = 'red'\nc.LowLatencyExecutor.workers = 2\n")
    check_site()


def test_wrong_type_of_configuration_is_reported(folders: Folders) -> None:
    path = folders.write(folders.weak, "config = {'retries': 1}\n")
    with pytest.raises(ConfigurationError) as caught:
        default_config()
    assert str(caught.value).startswith(f"{path}: config must be a Config, not a dict")


def test_files_make_configurations(folders: Folders, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from parslab import Config\nmine = Config(retries=5)\n")
    assert named_config(file) == named_config(str(file)) == Config(retries=5)
    file.write_text("from parslab import Config\na = Config()\nb = Config()\n")
    with pytest.raises(ConfigurationError, match=r"mine.py does not make a Config named config\."):
        named_config(file)
    file.write_text("from parslab import Config\n\nconfig = Config(retries=1/0)\n")
    with pytest.raises(ConfigurationError, match=r"mine.py, line 3\): ZeroDivisionError: division by zero\.$"):
        named_config(file)
    with pytest.raises(ConfigurationError, match=r"There is no file .*nothing.py\.$"):
        named_config(tmp_path / "nothing.py")
