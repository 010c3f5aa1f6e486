"""Where an experiment comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jbatch.experiment.stated import Stated


@dataclass(frozen=True)
class Origin:
    """Where an experiment comes from: all that rebuilds it for eval and resume, and names it."""

    variant: str
    overrides: tuple[str, ...] = ()
    cell: tuple[str, ...] = ()  # values of a sweep's grid, such as "plan.batch-size 32"
    code: str | None = None  # text of the experiment file; None: it was made in Python
    file: str | None = None  # path of the experiment file, which may use files beside it
    # path relative to the file's folder → text, of the person's modules that the file imports
    modules: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    stated: Stated = field(default_factory=Stated, compare=False, repr=False)

    @property
    def name(self) -> str:
        """Name of the experiment: its variant and its cell of a sweep."""
        return ", ".join((self.variant, *self.cell))
