"""Loading what a user names by ``module[:NAME]`` or ``path/file.py[:NAME]``.

The module is imported into this process, so only commands that serve it load it.

Used by `functions/serving.py` and `testing/openfaas.py`.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def load_named(text: str, usual_name: str) -> object:
    """Return what a text names in a module or file; without a name, what has the usual one.

    Raises:
        ImportError: There is no such module.
        OSError: There is no such file.
        AttributeError: The module has nothing of this name.
        Exception: Whatever the module raises when it is imported.
    """
    origin, _, name = text.partition(":")
    module = _of_file(Path(origin)) if origin.endswith(".py") else _of_name(origin)
    return getattr(module, name or usual_name)


def _of_name(name: str) -> ModuleType:
    _reach(Path.cwd())
    return importlib.import_module(name)


def _of_file(path: Path) -> ModuleType:
    """Import a file under its stem, as Ray's workers do, or under its path if the stem is taken."""
    file = path.resolve()
    names = path.stem, f"functions in {file}"
    for name in names:
        loaded = sys.modules.get(name)
        if loaded is not None and getattr(loaded, "__file__", None) == str(file):
            return loaded
    name = next(each for each in names if each not in sys.modules)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    _reach(file.parent)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _reach(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
