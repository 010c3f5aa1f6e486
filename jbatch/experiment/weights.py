"""Begin a run with the weights of another."""

from dataclasses import dataclass, field
from pathlib import Path

from jbatch.errors import Mistake, shown


@dataclass(frozen=True)
class Weights:
    """The parameters of another run, to begin with.

    Parameters are found by their path, such as "layers.0.kernel". Those that the other run lacks,
    or `drop` names, begin at random. Running statistics come along.

    Examples:
        >>> weights = jbatch.Weights("runs/odd", drop=("head",), freeze=("first",))
    """

    run: str | Path = field(compare=False)  # a moved run is the same; its weights' digest is kept
    """The other run's directory."""
    drop: tuple[str, ...] = ()
    """Paths, or beginnings of paths, of parameters that begin at random, such as a head."""
    freeze: tuple[str, ...] = ()
    """Paths, or beginnings of paths, of parameters that stay as they are."""
    step: str | int = "last"
    """The checkpoint: last, best, or its number of examples."""
    trusted: bool = field(default=False, compare=False)
    """Load a run that another user trained, which runs code that it holds."""

    def __post_init__(self) -> None:
        for name in ("drop", "freeze"):
            paths = getattr(self, name)
            if not isinstance(paths, tuple) or not all(isinstance(path, str) for path in paths):
                raise Mistake(f'{name} is {shown(paths)}: give a tuple of paths, such as ("head",)')
        if self.step not in ("last", "best") and type(self.step) is not int:
            raise Mistake(f"step is {shown(self.step)}: give last, best, or a number of examples")
