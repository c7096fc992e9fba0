"""In a checkout: the folder `kernels` under the name by which it is installed elsewhere.

`gan` imports the kernels as `fusedgan_kernels`, the name of their wheel, since `kernels` may be
Hugging Face's. Here, beside the folder, both names are one package: the same modules, operators
registered once, whichever is imported first. No wheel has this file.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what importing this gives, for type checkers
    from kernels import *  # noqa: F403

_NAME, _FOLDER = "fusedgan_kernels", "kernels"


class _Alias(InspectLoader):
    """Gives a module of the folder under its other name."""

    def __init__(self, own: ModuleSpec) -> None:
        self._own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return importlib.import_module(self._own.name)

    def exec_module(self, module: ModuleType) -> None:
        # It has run; the import system has just given it the alias's spec.
        module.__spec__ = self._own

    def get_code(self, fullname: str) -> CodeType | None:  # for `python -m`
        assert isinstance(self._own.loader, InspectLoader)
        return self._own.loader.get_code(self._own.name)

    def get_source(self, fullname: str) -> str | None:  # for tracebacks and inspect
        assert isinstance(self._own.loader, InspectLoader)
        return self._own.loader.get_source(self._own.name)

    def is_package(self, fullname: str) -> bool:
        return self._own.submodule_search_locations is not None


class _AliasFinder(MetaPathFinder):
    """Finds `fusedgan_kernels.losses` as `kernels.losses`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(f"{_NAME}."):
            return None
        own = importlib.util.find_spec(_FOLDER + fullname.removeprefix(_NAME))
        if own is None:
            return None
        spec = ModuleSpec(fullname, _Alias(own), origin=own.origin)
        spec.submodule_search_locations = own.submodule_search_locations
        spec.has_location = own.has_location
        return spec


def _package() -> ModuleType:
    """The folder beside this file as a package: `kernels`, if that is what this name means."""
    init = Path(__file__).resolve().with_name(_FOLDER) / "__init__.py"
    try:
        meant = importlib.util.find_spec(_FOLDER)
    except ValueError:  # something without a spec has the name
        meant = None
    if meant is not None and meant.origin and Path(meant.origin).resolve() == init:
        sys.meta_path.insert(0, _AliasFinder())
        return importlib.import_module(_FOLDER)
    # It means Hugging Face's: that is left alone, and the folder is known by this name only.
    spec = importlib.util.spec_from_file_location(
        _NAME, init, submodule_search_locations=[str(init.parent)]
    )
    assert spec is not None
    assert spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = package
    spec.loader.exec_module(package)
    return package


sys.modules[_NAME] = _package()
