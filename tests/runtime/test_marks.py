"""The attributes by which Airflow's provider registry lists durable and deferrable operators."""

from __future__ import annotations

import inspect
from importlib import import_module

import pytest

from sluice_provider.runtime.operator import RemoteJobOperator
from sluice_provider.runtime.sensor import RemoteJobSensor
from sluice_provider.services import SERVICES

pytestmark = pytest.mark.airflow


def public(layer, base):
    """The classes that users import from `operators` or `sensors`, that wait for jobs; with the bases themselves."""
    found = {base}
    for service in SERVICES:
        module = import_module(f"sluice_provider.{layer}.{service.name}")
        classes = [value for name, value in vars(module).items() if inspect.isclass(value) and name[0] != "_"]
        own = [each for each in classes if issubclass(each, base) and each.__module__ == module.__name__]
        assert own, service.name
        found |= set(own)
    return sorted(found, key=lambda each: each.__name__)


OPERATORS, SENSORS = public("operators", RemoteJobOperator), public("sensors", RemoteJobSensor)


@pytest.mark.parametrize("waiting", [*OPERATORS, *SENSORS])
def test_it_is_listed_as_durable(waiting):
    """By an attribute of the class itself: an inherited one does not count."""
    assert vars(waiting).get(f"_{waiting.__name__}__supports_durable_execution") is True


@pytest.mark.parametrize("waiting", [*OPERATORS, *SENSORS])
def test_it_is_listed_as_deferrable(waiting):
    """By the source of its `execute`."""
    assert "self.deferrable" in inspect.getsource(waiting.execute)


@pytest.mark.parametrize("operator", OPERATORS)
def test_it_has_an_argument_durable(operator):
    """As Airflow's own durable operators have, defined by the class or by one of its bases."""
    signatures = [inspect.signature(vars(each)["__init__"]) for each in operator.__mro__ if "__init__" in vars(each)]
    defaults = [
        signature.parameters["durable"].default for signature in signatures if "durable" in signature.parameters
    ]
    assert defaults[0] is True
