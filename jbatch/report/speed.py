"""Find where fewer updates were not faster, and say why."""

from collections.abc import Mapping, Sequence

import numpy as np

from jbatch.experiment.comparison import Comparison
from jbatch.report.runs import Record, by_variant
from jbatch.text import significant

FEWER = 0.05  # share of updates saved that a reader would expect to see in the time
FASTER = 0.95  # of the baseline's time; what is above is no faster, as far as one can tell
FULL = 1.1  # larger batches reach at most this many times the examples/s of a full device
SHORT = 1.0  # seconds; of less, starts and other work on the machine are most
WAITED = 0.1  # share of the time waiting for input that explains a slow run


def rates(runs: Sequence[Record]) -> dict[int, float]:
    """Return batch size → examples per second, ascending: medians over log intervals of one size.

    Medians, because other work on the machine slows down some intervals.
    """
    seen: dict[int, list[float]] = {}
    for run in runs:
        before = 0
        for line in run.training:
            sizes = run.plan.batch_sizes[before : line["update"]]
            if len(sizes) and sizes[0] == sizes[-1]:
                seen.setdefault(int(sizes[0]), []).append(line["examples_per_second"])
            before = line["update"]
    return {size: float(np.median(found)) for size, found in sorted(seen.items())}


def full_at(rates: Mapping[int, float]) -> int | None:
    """Return the smallest batch size from which on examples/s hardly rise; None if they still do.

    Args:
        rates: batch size → examples per second, ascending.
    """
    sizes = list(rates)
    for place, size in enumerate(sizes[:-1]):
        if max(rates[larger] for larger in sizes[place + 1 :]) <= FULL * rates[size]:
            return size
    return None


def not_faster(records: Sequence[Record], comparison: Comparison | None) -> list[str]:
    """Return a sentence for each variant whose fewer updates took no less time than its baseline's.

    Its time is that of training alone, the median over seeds.
    """
    done = by_variant([record for record in records if record.finished])
    said = []
    for claim in comparison.claims if comparison else ():
        for variant in (*claim.same, *claim.different):
            if {variant, claim.baseline} <= done.keys():
                said.append(_sentence(done[variant], done[claim.baseline]))
    return [text for text in said if text]


def _sentence(mine: Sequence[Record], base: Sequence[Record]) -> str:
    updates = [float(np.mean([run.updates for run in runs])) for runs in (mine, base)]
    seconds = [float(np.median([run.training_seconds for run in runs])) for runs in (mine, base)]
    if updates[0] > (1 - FEWER) * updates[1] or seconds[0] < FASTER * seconds[1]:
        return ""
    times = " and ".join(f"{significant(each, 3)} s" for each in seconds)
    of_seeds = ", medians over seeds" if len(mine) > 1 else ""
    return (
        f"{mine[0].variant} took {1 - updates[0] / updates[1]:.0%} fewer updates than "
        f"{base[0].variant}, but was not faster ({times} of training"
        f"{of_seeds}): {_why(mine, base)}."
    )


def _why(mine: Sequence[Record], base: Sequence[Record]) -> str:
    devices = [str(runs[0].environment.get("devices")) for runs in (mine, base)]
    if devices[0] != devices[1]:
        return f"they ran on other devices ({devices[0]} and {devices[1]})"
    if max(run.training_seconds for run in (*mine, *base)) < SHORT:
        return "under a second is too short to tell why"
    waited = float(np.mean([run.input_wait for run in mine]))
    if waited >= WAITED:
        return f"it waited for input {waited:.0%} of the time"
    found = rates([*mine, *base])
    full = full_at(found)
    if full is None or full > base[0].plan.batch_sizes.max():  # else larger batches had room
        times = [run.training_seconds for run in mine]
        least, most = (significant(pick(times), 3) for pick in (min, max))
        varied = f"; its seeds took from {least} s to {most} s" if len(mine) > 1 else ""
        return f"the metrics do not say why{varied}"
    largest = max(found)
    there, then = (significant(found[size], 2) for size in (full, largest))
    measured = f"{there} examples/s there, {then} at batch {largest:,}"
    if FULL * found[largest] < found[full]:  # a full device is no slower, but keeps its speed
        return f"examples/s fell after batch {full:,} ({measured})"
    return f"the device was full at batch {full:,} ({measured})"
