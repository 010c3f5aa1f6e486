"""Load experiment files."""

import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from importlib.util import decode_source
from pathlib import Path
from types import ModuleType

from jbatch.errors import Mistake, meant, said, shown
from jbatch.experiment.comparison import Comparison
from jbatch.experiment.experiment import Experiment
from jbatch.experiment.origin import Origin
from jbatch.experiment.own_code import importable, modules_below
from jbatch.experiment.stated import Stated, stated
from jbatch.files import expanded, read_whole

MOST_CODE = 1 << 24  # bytes
LONGEST_NAME = 200  # bytes of each part of a variant's name, which becomes a folder


@dataclass(frozen=True)
class ExperimentFile:
    """The contents of an experiment file.

    Examples:
        >>> from pathlib import Path
        >>> _ = Path("mine.py").write_text(
        ...     "import jbatch; variants = {'a': jbatch.Experiment(jbatch.Coupling(lambda _: 0.1))}"
        ... )
        >>> list(jbatch.load_file("mine.py").variants)
        ['a']
    """

    path: Path
    """The file."""
    code: str
    """Its text."""
    docstring: str
    """What it says about itself; "" if nothing."""
    variants: Mapping[str, Experiment]
    """Name → experiment."""
    comparison: Comparison | None
    """The claims that it states; None if it states none."""
    modules: Mapping[str, str]
    """Modules that it imports from below its folder: path relative to that folder → text."""

    @cached_property
    def stated(self) -> Stated:
        """What the file says of all its variants."""
        return stated(self.docstring, self.variants, self.comparison)

    def origin(
        self, variant: str, overrides: tuple[str, ...] = (), cell: tuple[str, ...] = ()
    ) -> Origin:
        """Return the origin of a run of this file."""
        file = str(self.path.absolute())
        return Origin(variant, overrides, cell, self.code, file, self.modules, self.stated)

    def variant(self, name: str) -> Experiment:
        """Return the variant of that name; raise Mistake, listing all, if there is none."""
        if name not in self.variants:
            near = meant(name, self.variants)
            raise Mistake(
                f"{self.path} has no variant {name!r}: use one of {', '.join(self.variants)}{near}"
            )
        return self.variants[name]


def load_file(path: Path | str) -> ExperimentFile:
    """Run an experiment file, which is Python code, and return its values.

    Raises:
        Mistake: if the file is missing, fails, or holds no experiments.

    Examples:
        >>> from pathlib import Path
        >>> _ = Path("mine.py").write_text(
        ...     "import jbatch; variants = {'a': jbatch.Experiment(jbatch.Coupling(lambda _: 0.1))}"
        ... )
        >>> jbatch.load_file("mine.py").variants["a"].seed
        0
    """
    path = expanded(Path(path))
    return experiment_file(path, read_code(path))


def read_code(path: Path, declared: bool = True) -> str:
    """Return the text of a Python file; raise Mistake if it cannot be read.

    Args:
        path: the file's path.
        declared: decode the file by the encoding that it declares, instead of as UTF-8.
    """
    try:
        content = read_whole(path, most=MOST_CODE)
    except OSError as error:
        raise Mistake(
            f"no experiment file {path} ({error.strerror}): give its path, absolute or relative to "
            f"{Path.cwd()}"
        ) from error
    try:
        return decode_source(content) if declared else content.decode()
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise Mistake(
            f"{path} is not a Python file ({error}): give the path of an experiment file"
        ) from error


def experiment_file(
    path: Path, code: str, origin: str | None = None, modules: Mapping[str, str] | None = None
) -> ExperimentFile:
    """Run the code of an experiment file that is trusted, and return its values.

    Args:
        path: the file's path.
        code: the file's text.
        origin: path of the original if the file is a copy; the code reads files from there.
        modules: texts to import in place of files beside the original; None to import those.

    Raises:
        Mistake: if the code fails, or holds no experiments.
    """
    module = ModuleType("<experiment>")
    module.__file__ = origin or str(path.absolute())
    module.__package__ = ""  # so that a relative import says what it lacks
    sys.modules[module.__name__] = module  # dataclasses look up annotations there
    folder = Path(module.__file__).parent
    with (
        _told(path),
        importable(folder, modules) as finder,
        redirect_stdout(sys.stderr),
    ):
        exec(compile(code, str(path), "exec"), vars(module))  # the text that was checked
        values = vars(module)
        variants = values.get("variants")
        variants = dict(variants) if isinstance(variants, Mapping) else variants
    if not isinstance(variants, dict) or not variants:
        raise Mistake(f"{path} has no `variants`: give a dict of name → jbatch Experiment")
    for name, variant in variants.items():
        check_name(path, name)
        if not isinstance(variant, Experiment):
            raise Mistake(
                f"{path}: variant {name!r} is a {type(variant).__name__}, not a jbatch Experiment"
            )
    comparison = values.get("comparison")
    if comparison is not None:
        if not isinstance(comparison, Comparison):
            raise Mistake(
                f"{path}: `comparison` is a {type(comparison).__name__}, not a jbatch Comparison"
            )
        unknown = comparison.variants - set(variants)
        if unknown:
            raise Mistake(
                f"{path}: comparison names {', '.join(sorted(map(str, unknown)))}, which is not "
                f"a variant of this file: use some of {', '.join(variants)}"
            )
    docstring = values.get("__doc__")
    docstring = docstring.strip() if isinstance(docstring, str) else ""
    # Imports within functions, which are still to come, run these texts too.
    if modules is None:
        for name, text in modules_below(folder, code).items():
            finder.texts.setdefault(name, text)
    finder.sealed = True  # from now on it hides no module elsewhere of another name
    modules = dict(sorted(finder.texts.items()))
    return ExperimentFile(path, code, docstring, variants, comparison, modules)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn any exception of a file, SystemExit included, into a Mistake with its line."""
    try:
        yield
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        if isinstance(error, SyntaxError) and error.filename == str(path):
            lines = [error.lineno]
        where = f", line {lines[-1]}," if lines else ""
        if "no known parent package" in said(error):
            error = ImportError(
                "a relative import in the file itself: its folder is importable, so write "
                "`from net import …` for `from .net import …`"
            )
        kind = "" if isinstance(error, Mistake) else f"{type(error).__name__}: "
        what = f"{kind}{said(error)}".removesuffix(": ")
        raise Mistake(f"{path}{where} does not load: {what}") from error


def check_name(where: Path | str, name: object) -> None:
    """Check that a variant's name, which `where` gives, can be printed and can name a folder."""
    if not isinstance(name, str):
        raise Mistake(f"{where}: the name of a variant is {shown(name)}: use text")
    parts = name.split(", ")
    if (
        not name.isprintable()
        or "/" in name
        or "\\" in name
        or any(part.strip() in ("", ".", "..") or part != part.strip() for part in parts)
        or any(len(part.encode()) > LONGEST_NAME for part in parts)
    ):
        raise Mistake(
            f"{where}: a variant is called {name!a}, which cannot name its run folders: use at "
            f"most {LONGEST_NAME} printable characters without slashes, and not . or .."
        )
