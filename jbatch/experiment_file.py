"""Reading an experiment file."""

import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from jbatch.errors import Mistake
from jbatch.experiment import Comparison, Experiment
from jbatch.run_directory import check_trusted


@dataclass(frozen=True)
class ExperimentFile:
    """What an experiment file says."""

    path: Path
    code: str
    docstring: str
    variants: Mapping[str, Experiment]
    comparison: Comparison | None

    def variant(self, name: str) -> Experiment:
        """One of the variants; Mistake, listing them, for another name."""
        if name not in self.variants:
            raise Mistake(f"{self.path} has no variant {name!r}: it has {', '.join(self.variants)}")
        return self.variants[name]


def load_experiment_file(path: Path, trusted: bool = False) -> ExperimentFile:
    """Run the file, which is Python code, and take its values.

    Args:
        path: of the file.
        trusted: run it even if it lies in a run directory that came from somewhere else.

    Raises:
        Mistake: if the file is missing, not trusted, fails, or holds no experiments.
    """
    try:
        code = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake(
            f"no experiment file {path} ({getattr(error, 'strerror', None) or error}): give the "
            f"path of one, from {Path.cwd()} on"
        ) from error
    if not trusted:
        check_trusted(path, code)
    module = ModuleType("<experiment>")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where a class of the file looks for its annotations
    try:
        exec(compile(code, str(path), "exec"), vars(module))  # what was checked, not read again
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path)]
        where = f", line {lines[-1]}," if lines else ""
        raise Mistake(f"{path}{where} does not load: {type(error).__name__}: {error}") from error
    values = vars(module)
    variants = values.get("variants")
    if not isinstance(variants, Mapping) or not variants:
        raise Mistake(f"{path} has no `variants`: give a dict of name → jbatch Experiment")
    for name, variant in variants.items():
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
                f"{path}: comparison names {', '.join(sorted(unknown))}, which is no variant: it "
                f"has {', '.join(variants)}"
            )
    return ExperimentFile(path, code, (values.get("__doc__") or "").strip(), variants, comparison)
