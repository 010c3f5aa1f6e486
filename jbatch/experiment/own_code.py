"""The modules that an experiment file imports from below its folder: kept, and imported again."""

import ast
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
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
def importable(folder: Path, modules: Mapping[str, str] | None) -> Iterator["Folder"]:
    """Make modules from below an experiment file's folder importable, now and in its functions.

    Args:
        folder: of the original file.
        modules: the texts to import, and no others; None to import from the folder.
    """
    finder = Folder(folder, {} if modules is None else dict(modules), sealed=modules is not None)
    for name, module in list(sys.modules.items()):  # of another file that has one of this name
        loader = getattr(getattr(module, "__spec__", None), "loader", None)
        if isinstance(loader, Folder) and finder.finds(name):
            del sys.modules[name]
    for each in list(sys.meta_path):
        if isinstance(each, Folder) and each.folder == folder:
            sys.meta_path.remove(each)
    sys.meta_path.insert(0, finder)
    name = str(folder)
    if modules is not None:
        yield finder
        return
    sys.path.insert(0, name)  # for modules that are no text
    try:
        yield finder
    finally:
        sys.path.remove(name)
        if name not in sys.path:
            sys.path.append(name)


@dataclass(eq=False)
class Folder(MetaPathFinder, Loader):
    """Imports modules from below a folder as texts, and keeps what it has imported."""

    folder: Path
    texts: dict[str, str]  # path relative to the folder → text
    sealed: bool  # import nothing but these texts

    def finds(self, name: str) -> str | None:
        """Return the path of a module's file, relative to the folder; None if there is none."""
        stem = name.replace(".", "/")
        for path in (f"{stem}/__init__.py", f"{stem}.py"):
            if path in self.texts or (not self.sealed and (self.folder / path).is_file()):
                return path
        return None

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module is, for Python's import."""
        if name.partition(".")[0] == "jbatch":
            return None
        stem, found = name.replace(".", "/"), self.finds(name)
        package = found is None or found.endswith("/__init__.py")
        if found is None and not any(each.startswith(f"{stem}/") for each in self.texts):
            return None
        origin = None if found is None else str(self.folder / found)
        spec = ModuleSpec(name, self if found else None, origin=origin, is_package=package)
        spec.has_location = found is not None  # sets __file__: a module may read files beside it
        if package:
            spec.submodule_search_locations = [str(self.folder / stem)]
        return spec

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's text."""
        assert module.__spec__ is not None
        origin = Path(str(module.__spec__.origin))
        path = origin.relative_to(self.folder).as_posix()
        if path not in self.texts:
            self.texts[path] = decode_source(read_whole(origin))
        exec(compile(self.texts[path], str(origin), "exec"), vars(module))
