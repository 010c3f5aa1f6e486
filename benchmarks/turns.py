"""Time loops fairly: they take turns, and ratios are taken within a turn.

A machine's speed drifts by more than the differences to measure. Each window times every loop once,
and a ratio is the median of the windows' ratios.
"""

import time
from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.outcome import Ratio

LEAST_WINDOWS, MOST_SECONDS = 3, 60
Loop = Callable[[int], None]  # takes n updates and waits for them


def take_turns(loops: Mapping[str, Loop], windows: int, seconds: float) -> dict[str, np.ndarray]:
    """Return the seconds of one update of each loop, in each window.

    All loops take the same number of updates in a window, so that the first takes about `seconds`.
    Their order changes from window to window. Slow loops get fewer windows. A turn begins with an
    update that is not timed, which brings back the caches, and memory that a virtual machine has
    given to its host meanwhile.
    """
    names = list(loops)
    count = calibrated(loops[names[0]], seconds)
    spent = {name: [] for name in names}
    for window in range(-1, windows):
        if window == 0:
            started = time.perf_counter()
        for turn in range(len(names)):
            name = names[(window + turn) % len(names)]
            loops[name](1)
            begun = time.perf_counter()
            loops[name](count)
            if window >= 0:  # the first warms up
                spent[name].append((time.perf_counter() - begun) / count)
        if window + 1 >= LEAST_WINDOWS and time.perf_counter() - started > MOST_SECONDS:
            break
    return {name: np.array(values) for name, values in spent.items()}


def ratio(spent: Mapping[str, np.ndarray], fast: str, slow: str) -> Ratio:
    """Return how many times as fast one loop was as another."""
    return Ratio.of(spent[slow] / spent[fast])


def calibrated(loop: Loop, seconds: float) -> int:
    """Return how many updates of a loop take about this long."""
    loop(1)
    count, elapsed = 0.5, 0.0
    while elapsed < seconds / 4:
        count *= 2
        begun = time.perf_counter()
        loop(int(count))
        elapsed = time.perf_counter() - begun
    return max(1, round(count * seconds / elapsed))
