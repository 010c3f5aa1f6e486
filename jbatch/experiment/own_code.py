"""The modules that an experiment file imports from below its folder: kept, and imported again."""

import ast
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import decode_source
from pathlib import Path
from types import ModuleType

from jbatch.files import read_whole


def modules_below(folder: Path, code: str) -> dict[str, str]:
    """Return the modules below a folder that a file there imports, and those that they import.

    Args:
        folder: absolute path.
        code: the file's text. Imports within functions count too.

    Returns:
        Path relative to the folder → text, sorted.
    """
    texts: dict[str, str] = {}
    left = [("", code)]
    while left:
        package, text = left.pop()
        for path in itertools.chain(*(_paths(folder, name) for name in _imported(text, package))):
            relative = path.relative_to(folder).as_posix()
            if relative not in texts:
                with suppress(OSError, SyntaxError, UnicodeDecodeError):  # it was not imported
                    texts[relative] = decode_source(read_whole(path))
                    inside = relative.rpartition("/")[0].replace("/", ".")
                    left.append((inside, texts[relative]))
    return dict(sorted(texts.items()))


def _imported(code: str, package: str) -> Iterator[str]:
    """Yield the absolute names that the code of a module in a package may import."""
    try:
        parsed = ast.parse(code)
    except (SyntaxError, ValueError):  # an import that the file never reaches
        return
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            stem = ".".join([*(above if node.level else ()), *filter(None, [node.module])])
            yield stem
            yield from (f"{stem}.{alias.name}".lstrip(".") for alias in node.names)


def _paths(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files below the folder that Python runs to import a module."""
    here = folder
    if name.partition(".")[0] == "jbatch":  # its version is in run.json
        return
    for part in filter(None, name.split(".")):
        here /= part
        for path in (here / "__init__.py", here.with_name(f"{part}.py")):
            if path.is_file():
                yield path
                break


@contextmanager
def importable(folder: Path, modules: Mapping[str, str]) -> Iterator[None]:
    """Make an experiment file's folder importable: first while the file runs, last afterwards.

    Args:
        folder: of the original file.
        modules: texts to import in place of files there.
    """
    name, kept = str(folder), _Kept(folder, modules)
    sys.meta_path.insert(0, kept)
    sys.path.insert(0, name)
    try:
        yield
    finally:
        sys.path.remove(name)
        if name not in sys.path:
            sys.path.append(name)
        sys.meta_path.remove(kept)
        if modules:
            sys.meta_path.append(kept)  # for imports within functions


class _Kept(MetaPathFinder, Loader):
    """Import modules from texts that were checked."""

    def __init__(self, folder: Path, texts: Mapping[str, str]) -> None:
        self.folder, self.texts = folder, texts

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        stem = name.replace(".", "/")
        package, module = f"{stem}/__init__.py", f"{stem}.py"
        found = next((each for each in (package, module) if each in self.texts), None)
        if found is None:
            if not any(each.startswith(f"{stem}/") for each in self.texts):
                return None
            spec = ModuleSpec(name, None, is_package=True)  # a folder without __init__.py
            spec.submodule_search_locations = [str(self.folder / stem)]
            return spec
        spec = ModuleSpec(name, self, origin=str(self.folder / found), is_package=found == package)
        spec.has_location = True  # sets __file__: a module may read files beside it
        if found == package:
            spec.submodule_search_locations = [str(self.folder / stem)]
        return spec

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        origin = str(module.__spec__.origin)
        text = self.texts[Path(origin).relative_to(self.folder).as_posix()]
        exec(compile(text, origin, "exec"), vars(module))
