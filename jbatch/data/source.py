"""Records of your own that are read while the run trains."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jbatch.errors import Mistake, shown, whole
from jbatch.hidden import Hidden


@dataclass(frozen=True, eq=False)
class Source:
    """Anything with random access and, unless it is a stream, `len`, read by worker processes.

    Hugging Face datasets, PyTorch's map-style datasets, Grain's sources, tfds.data_source and lists
    are such things. `load` makes an example of a record: a pytree of arrays of one fixed shape.

    Examples:
        >>> records = [{"input": [x, 1.0], "target": 2 * x} for x in range(100)]
        >>> def load(record, rng):
        ...     noise = 0 if rng is None else rng.normal(scale=0.1)
        ...     return {
        ...         "input": np.float32(record["input"]),
        ...         "target": np.float32(record["target"] + noise),
        ...     }
        >>> data = jbatch.Source(records[:80], records[80:], load=load)
    """

    train: Hidden[Any] = field(compare=False)
    """Training records: len(train), and train[i] for 0 ≤ i < len(train). Without len they are a
    stream, which a run reads once, from train[0] on; its plan has a length and no epochs."""
    test: Hidden[Any] = field(compare=False)
    """Test records."""
    validation: Hidden[Any] = field(default=None, compare=False, kw_only=True)
    """Records to evaluate on during the run; the test records are then left for its end."""
    load: Hidden[Callable[..., Any] | None] = None
    """Called in a worker as load(record, rng), with a NumPy random Generator for the example's
    position in the run; it is None in evaluation. None: a record is an example."""
    num_classes: int | None = None
    """Number of classes, for Classify."""
    workers: int | None = field(default=None, compare=False)  # changes nothing but speed
    """Worker processes per host. 0: load in the trainer process. None: 0 if an epoch loads within a
    second there, which is less than workers take to start, else one per core."""

    def __post_init__(self) -> None:
        for name in ("train", "test", "validation"):
            records = getattr(self, name)
            if name == "validation" and records is None:
                continue
            if not hasattr(records, "__getitem__"):
                raise Mistake(
                    f"{name} of Source is {shown(records)}, which has no random access: give a "
                    "map-style dataset (not an iterable one), a list, or a class whose "
                    "__getitem__(i) finds record i"
                )
            if name != "train" and not hasattr(records, "__len__"):
                raise Mistake(
                    f"{name} of Source is {shown(records)}, which has no len: evaluations need an "
                    "end, so give records with one"
                )
        if not (self.load is None or callable(self.load)):
            raise Mistake(f"load is {shown(self.load)}: give a function of (record, rng)")
        if self.num_classes is not None:
            whole("num_classes", self.num_classes)
        if self.workers is not None:
            whole("workers", self.workers, least=0, most=1024)
