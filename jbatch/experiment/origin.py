"""Where an experiment was taken from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """Where an experiment was taken from; from this eval, report and resume make it again."""

    code: str  # of the experiment file
    variant: str
    overrides: tuple[str, ...] = ()
    cell: tuple[str, ...] = ()  # of a sweep's grid, as "plan.batch-size 32"
    file: str | None = None  # its path, where what it reads and imports lies

    @property
    def name(self) -> str:
        """What the run's experiment is called among others."""
        return ", ".join((self.variant, *self.cell))
