"""Names and modules that are imported when they are first used."""

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


class LazyModule:
    """Stands for a module, which is imported when one of its names is first used.

    For what a module needs only inside functions, and in many of them; elsewhere an import inside the function says it
    more plainly. Type checkers need the import itself:

        if TYPE_CHECKING:
            from sluice_provider.apis.kili import endpoints as kili
        else:
            kili = LazyModule("sluice_provider.apis.kili.endpoints")
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._module), name)
