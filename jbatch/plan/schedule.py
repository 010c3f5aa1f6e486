"""Read a schedule at many places, fast, and report its mistakes. Needs JAX only to trace."""

import re
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from jbatch.errors import Mistake, said, shown
from jbatch.plan.measure import Measure
from jbatch.plan.walk import Reader, Values

Schedule = Callable[[Any], Any]  # a number in the plan's unit → rate: optax.Schedule, or plain
Rates = TypeVar("Rates", Values, Values | None)


def reader(schedule: Schedule, measure: Measure) -> Reader:
    """Make a function that reads the schedule at many values of the plan's unit.

    Where JAX is installed, it traces the schedule and runs it on the CPU, so that the plan does not
    depend on the device that trains. What it cannot trace (`math.cos`, an `if`, a table in NumPy)
    is called with one Python float after another. Epochs are in float32, rounded towards zero, so
    that no update before a boundary gets the rate after it. (Rounded to nearest in float32, the
    last example of ImageNet's epoch 29 would be in epoch 30.) Other units are counts, which soon
    pass what float32 tells apart, and are in float64.

    Args:
        schedule: an optax schedule, or a function of one float.
        measure: the plan's unit.

    Returns:
        A function (values, peak) → rates. `values` is float64 of shape (n,), with n at most `LONG`.
        `peak` is the highest rate so far. The rates are float64 of the same shape; rates within
        rounding of 0 are 0. It raises Mistake for a rate that is negative or not finite.
    """
    if not callable(schedule):
        raise Mistake(
            f"the schedule is {_called(schedule)}, not a function of the {measure.unit[:-1]}: for "
            "a constant rate give optax.constant_schedule(rate), or lambda _: rate. "
            "Transformations that watch the loss, such as reduce_on_plateau, cannot be planned"
        )
    single = measure.unit == "epochs"
    traced = _traced(schedule, single)

    def read(values: Values, peak: float) -> Values:
        nonlocal traced
        rates = None
        with redirect_stdout(sys.stderr):  # a user's schedule may print, and would break --json
            if traced is not None:
                rates = _evaluate(traced, values)
            if rates is None:
                traced, rates = None, _evaluate(_one_by_one(schedule), values)
        if rates.shape != values.shape:
            raise Mistake(
                f"the schedule gives an array of shape {rates.shape[1:]} per {measure.unit[:-1]}, "
                "not one rate: return a scalar"
            )
        if single:  # the same without JAX, where a function does not round within
            rates = rates.astype(np.float32).astype(np.float64)
        _refuse(measure, values, rates, ~np.isfinite(rates))  # before it becomes the peak
        # A cosine ends at 1e-9, not 0, and sometimes just below it.
        rounding = np.finfo(np.float32).eps * max(peak, np.max(np.abs(rates), initial=0.0))
        rates = np.where(np.abs(rates) <= rounding, 0.0, rates)
        _refuse(measure, values, rates, rates < 0)
        return rates

    return read


def _traced(schedule: Schedule, single: bool) -> Callable[[Values], Values | None] | None:
    """Return the schedule for many values, traced by JAX; None without JAX or with an older one."""
    try:
        from jbatch.plan import traced
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("jax", "jaxlib"):
            raise
        return None
    return traced.traced(schedule, single)


def _one_by_one(schedule: Schedule) -> Callable[[Values], Values]:
    """Return the schedule for many values, called with one Python float after another."""

    def evaluate(values: Values) -> Values:
        rates = [np.asarray(schedule(value)) for value in values.tolist()]
        if odd := [rate for rate in rates if rate.dtype.kind not in "iuf"]:
            raise Mistake(f"the schedule gives {shown(odd[0].item())}: return a number")
        return np.array(rates, np.float64)

    return evaluate


def _evaluate(evaluate: Callable[[Values], Rates], values: Values) -> Rates:
    try:
        return evaluate(values)
    except Mistake:
        raise
    except TypeError as error:
        raise Mistake(
            f"the schedule is not a function of one number ({said(error)}){_line(error)}: give "
            "one; schedules that depend on the loss or on other values cannot be planned"
        ) from error
    except BaseException as error:  # a user's code may raise anything, SystemExit included
        what = f"{type(error).__name__}: {said(error)}".removesuffix(": ")
        raise Mistake(f"the schedule fails{_line(error)}: {what}: fix the schedule") from error


def _line(error: BaseException) -> str:
    """Name the last line of the user's code in a traceback, as " (file, line n)"."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not re.search(r"[/\\](jax|jaxlib|optax|jbatch)[/\\]", frame.filename)
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _refuse(measure: Measure, values: Values, rates: Values, bad: npt.NDArray[np.bool_]) -> None:
    if bad.any():
        first = int(np.argmax(bad))
        raise Mistake(
            f"the schedule gives {rates[first]:g} at {measure.named(values[first])}: learning "
            "rates must be finite and at least 0; fix the schedule or shorten the run"
        )


def _called(value: object) -> str:
    plain = isinstance(value, int | float | str | None)
    return shown(value) if plain else type(value).__name__
