"""An experiment as values: what a file under experiments/ is made of."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Annotated, Literal

from tyro.conf import Suppress

from jbatch.data.image.augment import Augment
from jbatch.data.image.normalize import Normalize
from jbatch.data.sources import Data
from jbatch.devices.spmd import Mapping
from jbatch.errors import Mistake, make_plain, positive, share, shown, whole
from jbatch.experiment.kinds import check_kinds
from jbatch.models.specs import Model
from jbatch.optim import SGD, Optimizer
from jbatch.plan.couple import couple
from jbatch.plan.plan import Plan

MOST_GIB = 1e6  # of a device's memory

Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Coupling:
    """The arguments of `jbatch.couple`, which says what each means."""

    schedule: Annotated[Callable, Suppress]
    """An optax schedule over epochs; a function, which the command line leaves alone."""
    num_examples: int
    """N, examples in the training set."""
    num_epochs: float
    """Length of the run in epochs."""
    batch_size: int
    """B0, examples of the first update over all devices."""
    max_batch_size: int | None = None
    """The largest batch size; None for the largest of the grid."""
    growth_factor: float | None = None
    """Batch sizes are B0 times the powers of this."""
    batch_sizes: tuple[int, ...] | None = None
    """Batch sizes are these."""
    batch_multiple: int | None = None
    """Batch sizes are the multiples of this."""
    ramp: dict[float, int] | None = None
    """Batch sizes by hand: epoch, size, epoch, size …"""
    momentum: float = 0.0
    """m, of the optimizer; β1 for Adam and its kin."""
    scaling: float = 1.0
    """p: the rate follows the batch as B^p; 1 linear, 0.5 square root, 0 not at all."""
    growth: float = 1.0
    """q: how much of the decay becomes growth, from 0 to 1/p."""
    base_batch_size: int | None = None
    """Batch size that the schedule is for: the rate begins at (B0 / this)^p of it; None for B0."""
    adapt_regime: bool = False
    """Keep the base's number of updates: epochs and boundaries of the plan count B0 /
    base_batch_size times (those of log_every, eval_every and save_every stay as they are)."""

    def __post_init__(self):
        make_plain(self)

    def plan(self) -> Plan:
        """The plan of every update, made once; Mistake if it cannot be made."""
        return self._plan

    @cached_property
    def _plan(self) -> Plan:
        return couple(**{field.name: getattr(self, field.name) for field in fields(self)})

    @cached_property
    def decaying(self) -> "Coupling":
        """The same schedule with one batch size, the one it is written for: only the rate decays.

        That is `base_batch_size`, or else the first.
        """
        size = self.base_batch_size or self.batch_size
        return replace(
            self,
            batch_size=size if size <= self.num_examples else self.batch_size,
            max_batch_size=None,
            growth_factor=None,
            batch_sizes=None,
            batch_multiple=None,
            ramp=None,
            growth=0.0,
            base_batch_size=None,
            adapt_regime=False,
        )


@dataclass(frozen=True)
class Experiment:
    """One training run. Every field but the schedule can be overridden on the command line."""

    plan: Coupling
    """Which batch size and learning rate at which epoch."""
    model: Model | None = None
    """The network; None where an experiment can be planned but not trained yet."""
    data: Data | None = None
    """The data set; None where an experiment can be planned but not trained yet."""
    optimizer: Optimizer = SGD()  # noqa: RUF009 - frozen
    """The optimizer; its momentum (or β1) is the plan's."""
    augment: Augment = Augment()  # noqa: RUF009
    """Random changes to training images."""
    normalize: Normalize = "standardize"
    """What the network sees of an image's values."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over the classes."""
    dtype: Dtype = "float32"
    """Type that the network computes in; parameters, norm statistics and the loss are float32."""
    micro_batch: int | None = None
    """Most examples a device puts through one forward and backward pass; None to have it chosen:
    the largest that fits its memory, on CPUs the fastest."""
    updates_per_call: int | None = None
    """Most updates that one call of the compiled step takes; more save the host's time between
    them. Only where data live on the devices and a batch is one pass; otherwise it is one. None for
    16 on TPUs and, where the network has no convolutions, on CPUs; for 1 elsewhere."""
    device_memory: float | None = field(default=None, compare=False)  # of where it runs
    """GiB of a device's memory that training may use; None for what it says it has."""
    mapping: Mapping = "shard_map"
    """How the step is mapped over devices."""
    seed: int = 0
    """Seed of the initial parameters, the order of examples and their augmentation."""
    log_every: float = 1.0
    """Epochs between lines of training metrics."""
    eval_every: float = 1.0
    """Epochs between evaluations on the test set."""
    save_every: float = 10.0
    """Epochs between checkpoints; there is one at every phase change too, and at the end."""
    measure_distance: bool = field(default=False, compare=False)
    """Log how far the parameters are from where they began, and from where they were at the last
    log point (L2 norms); each time they are copied to the host."""

    series: Annotated[str, Suppress] = field(default="", compare=False)
    """The line that reports draw through this run's results and others'."""
    point: Annotated[dict[str, float] | None, Suppress] = field(default=None, compare=False)
    """Where on that line the run is: a quantity and its value, as {"batch size": 32}."""

    def __post_init__(self):
        make_plain(self)
        check_kinds(self)
        if self.point is not None and len(self.point) != 1:
            raise Mistake(f"point is {shown(self.point)}: give one quantity, as {{'rate': 0.1}}")
        share("label_smoothing", self.label_smoothing)
        if self.micro_batch is not None:
            whole("micro_batch", self.micro_batch)
        if self.updates_per_call is not None:
            whole("updates_per_call", self.updates_per_call)
        if self.device_memory is not None:
            positive("device_memory", self.device_memory, of="a number of GiB")
            if self.device_memory > MOST_GIB:
                raise Mistake(f"device_memory is {self.device_memory:g} GiB: give what it has")
        whole("seed", self.seed, least=0, most=2**32 - 1)
        for name in ("log_every", "eval_every", "save_every"):
            positive(name, getattr(self, name), of="a number of epochs")
