"""Names of a module that are imported when they are first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy(module: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """A `__getattr__` for this module.

    :param modules: the module that defines each name
    """

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return find
