"""The options that descriptions are made of, and the plain data in which descriptions reach another process."""

from __future__ import annotations

import pickle
import sys
from datetime import timedelta
from types import ModuleType
from typing import Any, ClassVar

import msgspec
import pytest

from parslab.config import Config
from parslab.description import (
    Choice,
    Description,
    Duration,
    Nested,
    Number,
    Text,
    Texts,
    YesNo,
    decoded,
    encoded,
)
from parslab.errors import ConfigurationError
from parslab.executors import LowLatencyExecutor, ThreadPoolExecutor
from parslab.records.executor_settings import EncodedDescription


class Inner(Description):
    depth = Number(1.0, above=0)
    instead: ClassVar[dict[str, str]] = {"deep": "use depth"}


class Deeper(Inner):
    label = Text("x")
    instead: ClassVar[dict[str, str]] = {"name": "use label"}


class Everything(Description):
    number = Number(0.5, low=0, high=1)
    maybe = Number(None, low=0)
    wait = Duration(600)
    yes = YesNo(True)
    colour = Choice("red", ("red", "green"))
    init = Text("", empty=True)
    lines = Texts(())
    inner = Nested(Inner, Inner)
    other = Nested(Inner)


@pytest.mark.parametrize(
    ("option", "says"),
    [("deep", "use depth."), ("name", "use label."), ("more", "its options are depth, label.")],
)
def test_a_name_from_elsewhere_is_answered_with_ours(option: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Deeper(**{option: 1})
    assert str(caught.value) == f"Deeper has no option {option!r}; {says}"


FULL = Everything(
    number=1,
    maybe=3,
    wait="1-02:03:04",
    yes=False,
    colour="green",
    init="module load x\n",
    lines=["a", "b"],
    inner=Deeper(depth=2),
    other=Inner(),
)


def test_values_are_kept_in_one_form() -> None:
    assert (FULL.number, FULL.maybe, FULL.wait) == (1.0, 3.0, ((24 + 2) * 60 + 3) * 60 + 4)
    assert Everything(wait=timedelta(minutes=2)) == Everything(wait=120) == Everything(wait="00:02:00")
    assert Everything(lines="a") == Everything(lines=("a",))
    assert Everything(inner=Inner()) == Everything()
    assert Everything().inner == Inner()
    assert Everything().other is None


def test_nested_descriptions_show_as_calls_and_travel() -> None:
    assert repr(Everything(inner=Deeper(depth=2))) == "Everything(inner=Deeper(depth=2.0))"
    names = {kind.__name__: kind for kind in (Everything, Inner, Deeper)}
    assert eval(repr(FULL), names) == FULL
    assert pickle.loads(pickle.dumps(FULL)) == FULL
    assert hash(FULL.replaced(yes=True)) != hash(FULL)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"number": 1.5}, "number must be a number of at least 0 and of at most 1, not 1.5."),
        ({"number": None}, "number must be a number"),
        ({"number": float("nan")}, "number must be a number"),
        ({"number": "1"}, "number must be a number"),
        ({"number": True}, "number must be a number"),
        ({"maybe": -1}, "maybe must be a number of at least 0, not -1."),
        ({"wait": "10:00"}, "wait must be a time: seconds, or a text 'HH:MM:SS' or 'D-HH:MM:SS', not '10:00'."),
        ({"wait": "1:75:00"}, "wait must be a time"),
        ({"wait": -3}, "wait must be a time"),
        ({"yes": 1}, "yes must be True or False, not 1."),
        ({"colour": "blue"}, "colour must be one of 'red', 'green', not 'blue'."),
        ({"init": 3}, "init must be a text, not 3."),
        ({"lines": ["a", ""]}, "lines must be a list of texts"),
        ({"lines": {"a": 1}}, "lines must be a list of texts"),
        ({"inner": None}, "inner must be an Inner, such as Inner(), not None."),
        ({"inner": Inner}, "inner must be an Inner"),
        ({"other": ThreadPoolExecutor()}, "other must be an Inner, not ThreadPoolExecutor()."),
    ],
)
def test_mistakes_are_reported_in_one_sentence(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Everything(**options)
    assert says in str(caught.value)
    assert str(caught.value).startswith("Everything: ")


CONFIG = Config(executors=[LowLatencyExecutor(environment={"class": "a", "options": "b"}), ThreadPoolExecutor()])


def test_what_is_encoded_is_decoded_to_an_equal_one(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("classes_of_a_user")
    for kind in (Everything, Inner, Deeper):
        monkeypatch.setattr(kind, "__module__", module.__name__)
        setattr(module, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for made in (CONFIG, FULL, Everything()):
        data = msgspec.json.decode(msgspec.json.encode(encoded(made)), type=EncodedDescription)
        assert decoded(data) == made
    assert msgspec.to_builtins(encoded(Everything(inner=Deeper(depth=2)))) == {
        "class": "classes_of_a_user:Everything",
        "options": {"inner": {"class": "classes_of_a_user:Deeper", "options": {"depth": 2.0}}},
    }


def test_a_class_that_another_process_cannot_find_is_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Local(Inner):
        pass

    with pytest.raises(ConfigurationError, match=r"Local is defined in a function, .* put the class into a module"):
        encoded(Everything(inner=Local()))
    monkeypatch.setattr(Inner, "__module__", "__main__")
    with pytest.raises(ConfigurationError, match=r"Inner is defined in the notebook, script or configuration file"):
        encoded(Inner())


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"class": "no.such:Thing", "options": {}}, "no.such:Thing cannot be imported in process"),
        ({"class": "parslab.config:Missing", "options": {}}, "(AttributeError:"),
        ({"class": "os:system", "options": {}}, "os:system is not the class of a Description"),
        ({"class": "subprocess:Popen", "options": {"args": "x"}}, "is not the class of a Description"),
        ({"class": "parslab.config:Config", "options": {"colour": 1}}, "Config has no option 'colour'"),
    ],
)
def test_data_that_is_no_description_is_refused(data: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        decoded(msgspec.convert(data, EncodedDescription))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [{}, {"class": 3, "options": {}}, {"class": "os:system", "options": []}])
def test_data_of_another_shape_is_no_encoded_description(data: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(data, EncodedDescription)
