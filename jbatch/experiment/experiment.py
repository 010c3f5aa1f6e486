"""The values that an experiment file is made of."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Suppress
from tyro.constructors import PrimitiveConstructorSpec

from jbatch.data.sources import Data
from jbatch.devices.parts import OptimizerState
from jbatch.devices.spmd import Mapping
from jbatch.errors import Mistake, make_plain, positive, shown, whole
from jbatch.experiment.kinds import check_kinds
from jbatch.experiment.weights import Weights
from jbatch.optim import SGD
from jbatch.optimizer import Optimizer, own_values, takes_momentum
from jbatch.plan.adapt import Adaptive
from jbatch.plan.couple import GrowthRule, couple
from jbatch.plan.decided import Growths
from jbatch.plan.hold import PRESETS, Hold, Preset, Values
from jbatch.plan.measure import Unit
from jbatch.plan.plan import Plan
from jbatch.task.base import Task

MOST_GIB = 1e6  # of a device's memory

# The command line shows the fields of the value that is there; its type may be a person's own.
if TYPE_CHECKING:
    TaskField = Task | None
    DataField = Any
    OptimizerField = Optimizer
else:
    TaskField = DataField = OptimizerField = Any


PRESET = PrimitiveConstructorSpec(  # a flag takes presets alone
    nargs=1,
    metavar="{None," + ",".join(PRESETS) + "}",
    instance_from_str=lambda given: None if given[0] == "None" else given[0],
    is_instance=lambda value: value is None or isinstance(value, str | Hold),
    str_from_instance=lambda value: [str(value)],
)


@dataclass(frozen=True)
class Coupling:
    """The arguments of `jbatch.couple`; its docstring explains each one.

    Examples:
        >>> import optax
        >>> schedule = optax.piecewise_constant_schedule(0.1, {6: 0.25, 9: 0.25})
        >>> coupling = jbatch.Coupling(
        ...     schedule, num_examples=1500, num_epochs=12, batch_size=32, growth_factor=4
        ... )
        >>> coupling.plan()
        <Plan of ...>
    """

    schedule: Annotated[Callable, Suppress]  # type: ignore[type-arg]  # kinds.py shows it
    """Learning rate over the unit (epochs unless you say so): an optax schedule, or a function of
    one float. The command line cannot change it."""
    num_examples: int | None = field(default=None, kw_only=True)
    """N, examples in the training set. None: as many as the dataset has; if it has no end, or
    there is no dataset, the plan is of a stream without epochs."""
    num_epochs: float | None = None
    """Length of the run in epochs."""
    batch_size: int | None = None
    """B0, examples of the first update over all devices. None: the ramp's first size."""
    length: float | None = field(default=None, kw_only=True)
    """Length of the run in plan.unit, instead of num_epochs."""
    unit: Unit = field(default="epochs", kw_only=True)
    """What schedule, length, ramp and intervals count, and the printed plan. Updates are those of
    the base batch."""
    sequence_length: int | None = field(default=None, kw_only=True)
    """Tokens of an example."""
    max_batch_size: int | None = None
    """Largest batch size. None: the largest of the grid that is at most num_examples."""
    growth_factor: float | None = None
    """Grow through the batch sizes B0 · factor, B0 · factor², …"""
    batch_sizes: tuple[int, ...] | None = None
    """Grow through these batch sizes, ascending from B0."""
    batch_multiple: int | None = None
    """Grow through the multiples of this number, from B0 on."""
    ramp: dict[float, int] | str | None = None
    """Set the batch sizes by hand: start, size, start, size … from 0 on. Also as text, such as
    "0:768 250B:1536", or "32 32 65536" (start, increment, examples) up to max_batch_size."""
    allow_shrink: bool = field(default=False, kw_only=True)
    """Let the sizes of a ramp fall."""
    rate: float = 1.0
    """A factor on the schedule, such as to sweep the learning rate."""
    momentum: float | None = None
    """The optimizer's momentum m. For Adam, AdamW and LAMB it is β1. None: the optimizer's own, 0.9
    for these and LARS, 0 for SGD and Rprop."""
    hold: Annotated[Hold | Preset | None, PRESET] = field(default=None, kw_only=True)
    """What else follows the batch: momentum (β1) and the optimizer's b2, eps and weight_decay, by a
    preset; in a file, also by a Hold. None: all stay as they are."""
    scaling: float | None = None
    """p: the learning rate follows the batch size as B^p. 1: linear, 0.5: square root, 0: none.
    None: that of hold, or else 1."""
    growth: float = 1.0
    """q: how much of the decay becomes batch growth, from 0 to 1/p. 0: only the rate decays."""
    growth_rule: GrowthRule = field(default="paper", kw_only=True)
    """paper: the batch grows as the schedule decays. optimal: B follows ε/√(rates to come), with
    scaling 0, under which even a constant rate grows the batch."""
    base_batch_size: int | None = None
    """Batch size that your learning rate was tuned for. jbatch rescales the schedule by
    (B0 / base_batch_size)^p. None: B0."""
    adapt_regime: bool = False
    """Train for as many updates as base_batch_size would take, not for as many epochs. jbatch
    multiplies the length and the places of the schedule and ramp by B0 / base_batch_size;
    log_every, eval_every and save_every stay as they are."""

    decided: dict[int, int] | None = field(default=None, kw_only=True)
    """Sizes that an adaptive run has decided on: examples seen, size, examples seen, size … from 0
    on. `train --replay DIR` takes them from a run."""

    def __post_init__(self) -> None:
        make_plain(self)

    def plan(self, own: Values = Values()) -> Plan:  # noqa: B008 - immutable
        """Return the plan, made on the first call.

        Args:
            own: the optimizer's own values, for what the plan leaves to it.

        Raises:
            Mistake: if it cannot be made, or the number of examples is not known.
        """
        if self.num_examples is None and (self.unit == "epochs" or self.length is None):
            raise Mistake("plan.num_examples is not given: give it, or the experiment's data")
        told = {} if self.hold is None else own._asdict()
        told["momentum"] = own.momentum or 0.0 if self.momentum is None else self.momentum
        key = tuple(told.items())
        if key not in self._plans:
            self._plans[key] = self._couple(told)
        return self._plans[key]

    @cached_property
    def _plans(self) -> dict[tuple[tuple[str, float | None], ...], Plan]:
        return {}

    def _couple(self, told: dict[str, float | None]) -> Plan:
        positive("rate", self.rate)
        values = {field.name: getattr(self, field.name) for field in fields(self)} | told
        rate, schedule = values.pop("rate"), self.schedule
        if rate != 1:
            values["schedule"] = lambda value: rate * schedule(value)
        return couple(**values)

    def decaying_plan(self) -> Plan | None:
        """Return the plan of `decaying`; None if it cannot be made, as with too many updates."""
        try:
            return self.decaying.plan()
        except Mistake:
            return None

    @cached_property
    def decaying(self) -> "Coupling":
        """The same schedule at a constant batch size, so that only the rate decays.

        The size is `base_batch_size`, or `batch_size` if that is None.
        """
        sizes = self if self.hold is None else replace(self, hold=None)  # which changes none
        first = self.batch_size or int(sizes.plan().batch_sizes[0])  # a ramp's
        size = self.base_batch_size or first
        return replace(
            self,
            batch_size=size if size <= (self.num_examples or size) else first,
            max_batch_size=None,
            growth_factor=None,
            batch_sizes=None,
            batch_multiple=None,
            ramp=None,
            allow_shrink=False,
            growth=0.0,
            hold=None,
            growth_rule="paper",
            base_batch_size=None,
            adapt_regime=False,
            decided=None,
        )


@dataclass(frozen=True)
class Experiment:
    """One training run. The command line can override each number, text and choice in it.

    Examples:
        >>> plan = jbatch.Coupling(lambda epoch: 0.1 / (1 + epoch), num_epochs=12, batch_size=32)
        >>> experiment = jbatch.Experiment(
        ...     plan, task=jbatch.Classify(jbatch.MLP()), data=jbatch.Digits(), seed=1
        ... )
    """

    plan: Coupling
    """Batch size and learning rate over the run."""
    task: TaskField = None
    """What is trained, such as Classify(MLP()). None: the experiment can be planned, but not
    trained yet."""
    data: DataField = None
    """The dataset. None: the experiment can be planned, but not trained yet."""
    optimizer: OptimizerField = SGD()  # noqa: RUF009 - frozen
    """The optimizer, or your own function of the rate, or of (rate, momentum), that returns an
    optax transformation. Momentum (or β1) comes from the plan if that gives it."""
    init: Weights | None = None
    """Begin with the weights of another run. None: at random."""
    average: float | None = None
    """Examples that an average of the parameters remembers: a state so many examples old weighs
    1/e of the newest. It is evaluated beside the parameters, as average_loss and so on. None: no
    average."""
    micro_batch: int | None = None
    """Maximum examples per device in one forward and backward pass. None: jbatch picks it, the
    largest that fits in device memory or, on CPUs, the fastest in a short benchmark."""
    updates_per_call: int | None = None
    """Most updates in one compiled call, or most passes of an update that accumulates. Larger
    values cut host overhead. The dataset must be in device memory. On CPUs a call takes fewer if
    they are long, so that a run stops soon. None: 16 on TPUs, and on CPUs for networks without
    convolutions of XLA's own; else 1."""
    device_memory: float | None = field(default=None, compare=False)  # it depends on the machine
    """GiB of memory that training may use on each device. None: as much as the device reports."""
    mapping: Mapping = "shard_map"
    """How jbatch maps the step over devices."""
    optimizer_state: OptimizerState = field(default="replicated", compare=False)
    """Where the optimizer's state and the average lie: replicated, whole on every device; or
    sharded, in parts over the devices, which needs less memory and gives the same numbers, to
    rounding."""
    seed: int = 0
    """Seed of the initial parameters, the order of examples and their augmentation."""
    log_every: float | None = field(default=None, compare=False)  # no interval changes the training
    """Between lines of training metrics, in plan.unit. None: an epoch; of a stream, a hundredth of
    the run."""
    eval_every: float | None = field(default=None, compare=False)
    """Between evaluations on the validation set, or else the test set, in plan.unit. None: an
    epoch; of a stream, a tenth of the run."""
    save_every: float | None = field(default=None, compare=False)
    """Between checkpoints, in plan.unit. None: 10 epochs; of a stream, a tenth of the run. jbatch
    also saves one at every phase change and at the end; it keeps the last two."""
    keep_every: float | None = field(default=None, compare=False)
    """Between checkpoints that stay, in plan.unit. None: none do."""
    keep_best: str | None = field(default=None, compare=False)
    """Name of a score: also keep the checkpoint of the evaluation that is best by it. Scores with
    loss or error in their name are best when lowest, others when highest."""
    measure_distance: bool = field(default=False, compare=False)
    """Log the L2 distance of the parameters from their initial values, and from their values at the
    last log point. This copies the parameters to the host at every log point."""

    measure_noise: bool = False
    """Measure the gradient noise scale trΣ/|G|² from the passes and devices of each update, and log
    it. Where an update is one pass on one device, every 16th is cut in two (docs/noise.md)."""
    adaptive: Adaptive | None = None
    """Let the run grow its batch by what it measures, among the sizes that the plan allows
    (docs/adaptive.md). None: the batch grows with the schedule's decay."""

    series: Annotated[str, Suppress] = field(default="", compare=False)
    """Name of the line that reports draw through the results of several runs."""
    point: Annotated[dict[str, float] | None, Suppress] = field(default=None, compare=False)
    """Where this run is on that line: a quantity and its value, such as {"batch size": 32}."""

    def __post_init__(self) -> None:
        make_plain(self)
        check_kinds(self)
        if self.point is not None and len(self.point) != 1:
            raise Mistake(f"point is {shown(self.point)}: give one quantity, as {{'rate': 0.1}}")
        if not (self.task is None or isinstance(self.task, Task)):
            raise Mistake(f"task is {shown(self.task)}: give a jbatch Task, such as Classify(…)")
        if not (self.data is None or hasattr(self.data, "load") or isinstance(self.data, Data)):
            raise Mistake(
                f"data is {shown(self.data)}: give a dataset, such as Arrays(train=…, test=…)"
            )
        if not callable(self.optimizer) or isinstance(self.optimizer, type):
            raise Mistake(
                f"optimizer is {shown(self.optimizer)}: give one of jbatch's, such as SGD(), or a "
                "function of the rate, such as lambda rate: optax.adamw(rate)"
            )
        if self.average is not None:
            positive("average", self.average, of="a number of examples")
        if self.micro_batch is not None:
            whole("micro_batch", self.micro_batch)
        if self.updates_per_call is not None:
            whole("updates_per_call", self.updates_per_call)
        if self.device_memory is not None:
            positive("device_memory", self.device_memory, of="a number of GiB")
            if self.device_memory > MOST_GIB:
                raise Mistake(
                    f"device_memory is {self.device_memory:g} GiB: give the GiB of one device, at "
                    f"most {MOST_GIB:,.0f}"
                )
        whole("seed", self.seed, least=0, most=2**32 - 1)
        if self.adaptive is not None and self.adaptive.reads_noise and not self.measure_noise:
            raise Mistake(
                f"adaptive.rule is {type(self.adaptive.rule).__name__}, which reads the measured "
                "gradient noise, but measure_noise is off: give measure_noise=True, or "
                "--measure-noise"
            )
        for name in ("log_every", "eval_every", "save_every", "keep_every"):
            if (value := getattr(self, name)) is not None:
                positive(name, value, of=f"a number of {self.plan.unit}")

    @property
    def adapts(self) -> bool:
        """Whether a run decides when its batch grows."""
        return self.adaptive is not None and self.plan.decided is None

    def make_plan(self, growths: Growths = ()) -> Plan:
        """Return the plan, with the optimizer's own values where it leaves them to the optimizer.

        Args:
            growths: what an adaptive run has decided so far.

        Raises:
            Mistake: if it cannot be made, or the optimizer wants a momentum that nothing gives.
        """
        own = own_values(self.optimizer)
        if self.plan.momentum is None and own.momentum is None and takes_momentum(self.optimizer):
            raise Mistake(
                "the optimizer is a function of (rate, momentum), but the plan gives no momentum: "
                "give plan.momentum, for example 0.9, or a function of the rate alone"
            )
        return self._coupling(growths).plan(own)

    def _coupling(self, growths: Growths) -> Coupling:
        """Return what the plan is made of, with what a run has decided so far."""
        if not self.adapts:
            return self.plan
        if self.plan.ramp is not None:
            raise Mistake(
                "adaptive lets the run decide when its batch grows, and plan.ramp says when: leave "
                "out one of them"
            )
        if self.plan.batch_size is None:
            raise Mistake("batch_size is not given: give the examples of the first update")
        if growths not in self._couplings:
            decided = {0: self.plan.batch_size, **dict(growths)}
            self._couplings[growths] = replace(self.plan, decided=decided)
        return self._couplings[growths]

    @cached_property
    def _couplings(self) -> dict[Growths, Coupling]:
        return {}
