"""Reading an experiment file."""

import runpy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jbatch.errors import Mistake
from jbatch.experiment import Comparison, Experiment


@dataclass(frozen=True)
class ExperimentFile:
    """What an experiment file says."""

    path: Path
    docstring: str
    variants: Mapping[str, Experiment]
    comparison: Comparison | None

    def variant(self, name: str) -> Experiment:
        """One of the variants; Mistake, listing them, for another name."""
        if name not in self.variants:
            raise Mistake(f"{self.path} has no variant {name!r}: it has {', '.join(self.variants)}")
        return self.variants[name]


def load_experiment_file(path: Path) -> ExperimentFile:
    """Run the file, which is Python code, and take its values.

    Raises:
        Mistake: if the file is missing, fails, or holds no experiments.
    """
    if not path.is_file():
        raise Mistake(f"no experiment file {path}: give the path of one, as experiments/digits.py")
    try:
        values = runpy.run_path(str(path))
    except Exception as error:
        raise Mistake(f"{path} does not load: {type(error).__name__}: {error}") from error
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
    return ExperimentFile(path, (values.get("__doc__") or "").strip(), variants, comparison)
