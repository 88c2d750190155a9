"""Every strategy of ours passes the suite of the family."""

from __future__ import annotations

from parslab.testing.conformance import StrategySuite


class TestNone(StrategySuite):
    name = "none"


class TestSimple(StrategySuite):
    name = "simple"


class TestAutoScale(StrategySuite):
    name = "htex_auto_scale"
