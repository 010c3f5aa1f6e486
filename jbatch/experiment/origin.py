"""Where an experiment comes from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """Where an experiment comes from: all that rebuilds it for eval, report and resume."""

    code: str  # text of the experiment file
    variant: str
    overrides: tuple[str, ...] = ()
    cell: tuple[str, ...] = ()  # values of a sweep's grid, such as "plan.batch-size 32"
    file: str | None = None  # path of the experiment file, which may use files beside it

    @property
    def name(self) -> str:
        """Name of the experiment: its variant and its cell of a sweep."""
        return ", ".join((self.variant, *self.cell))
