"""Read an optax schedule at many epochs, fast, and report its mistakes."""

import re
import sys
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, redirect_stdout
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax.typing import ArrayLike

from jbatch.errors import Mistake, said, shown

# Only these lengths are compiled, because each new length costs a compilation. The short one is for
# plans that grow at every other look-up. The long one makes a million look-ups cheap.
SHORT, LONG = 512, 32_768

Schedule = Callable[[jax.Array], ArrayLike]  # epoch → rate, as optax.Schedule
Blocks = Callable[[npt.NDArray[np.float32]], jax.Array]  # many epochs → their rates


def reader(
    schedule: Schedule,
) -> Callable[[npt.NDArray[np.float64], float], npt.NDArray[np.float64]]:
    """Make a function that reads the schedule at many epochs.

    The schedule runs in float32 on the CPU, so that the plan does not depend on the device that
    trains. Epochs are rounded towards zero, so that no update before a boundary gets the rate after
    it. (Rounded to nearest in float32, the last example of ImageNet's epoch 29 would be in epoch
    30.)

    Args:
        schedule: an optax schedule, a traceable function of one scalar.

    Returns:
        A function (epochs, peak) → rates. `epochs` is float64 of shape (n,), with n at most `LONG`.
        `peak` is the highest rate so far. The rates are float64 of the same shape; rates within
        rounding of 0 are 0. It raises Mistake for a rate that is negative or not finite.
    """
    if not callable(schedule):
        raise Mistake(
            f"the schedule is {_called(schedule)}, not a function of the epoch: for a constant "
            "rate give optax.constant_schedule(rate). Transformations that watch the loss, such as "
            "reduce_on_plateau, cannot be planned"
        )
    blocks = _blocks(schedule)

    def read(epochs: npt.NDArray[np.float64], peak: float) -> npt.NDArray[np.float64]:
        length = SHORT if len(epochs) <= SHORT else LONG
        padded = np.full(length, epochs[-1])
        padded[: len(epochs)] = epochs
        with (
            _on_cpu(),
            jax.enable_x64(False),
            jax.numpy_dtype_promotion("standard"),
            redirect_stdout(sys.stderr),  # a user's schedule may print, and would break --json
        ):
            rates = _evaluate(blocks, _float32_towards_zero(padded))
        if rates.shape != (length,):
            raise Mistake(
                f"the schedule gives an array of shape {rates.shape[1:]} per epoch, not one rate: "
                "return a scalar"
            )
        rates = rates[: len(epochs)]
        _refuse(epochs, rates, ~np.isfinite(rates))  # before it becomes the peak
        # A cosine ends at 1e-9, not 0, and sometimes just below it.
        rounding = np.finfo(np.float32).eps * max(peak, np.max(np.abs(rates), initial=0.0))
        rates = np.where(np.abs(rates) <= rounding, 0.0, rates)
        _refuse(epochs, rates, rates < 0)
        return rates

    return read


def _blocks(schedule: Schedule) -> Blocks:
    """Return the schedule compiled for many epochs; cached if the schedule can be hashed."""
    try:
        return _kept(schedule)
    except TypeError:  # a schedule that cannot be hashed
        return _kept.__wrapped__(schedule)


@lru_cache(64)
def _kept(schedule: Schedule) -> Blocks:
    return jax.jit(jax.vmap(lambda epoch: jnp.asarray(schedule(epoch), jnp.float32)))


def _evaluate(blocks: Blocks, epochs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    try:
        return np.asarray(blocks(epochs), np.float64)
    except jax.errors.JAXTypeError as error:
        raise Mistake(
            "JAX cannot trace the schedule, because it branches on the epoch's value "
            f"({type(error).__name__}): use jnp.where or optax.join_schedules"
        ) from error
    except TypeError as error:
        raise Mistake(
            f"the schedule is not a function of the epoch alone ({said(error)}){_line(error)}: "
            "give one; schedules that depend on the loss or on other values cannot be planned"
        ) from error
    except Mistake:
        raise
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


def _float32_towards_zero(epochs: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    rounded = epochs.astype(np.float32)
    return np.where(rounded > epochs, np.nextafter(rounded, np.float32(0)), rounded)


def _refuse(
    epochs: npt.NDArray[np.float64], rates: npt.NDArray[np.float64], bad: npt.NDArray[np.bool_]
) -> None:
    if bad.any():
        first = int(np.argmax(bad))
        raise Mistake(
            f"the schedule gives {rates[first]:g} at epoch {epochs[first]:g}: learning rates "
            "must be finite and at least 0; fix the schedule or shorten num_epochs"
        )


def _on_cpu() -> AbstractContextManager[None]:
    try:
        cpu: AbstractContextManager[None] = jax.default_device(jax.local_devices(backend="cpu")[0])
        return cpu
    except (RuntimeError, AssertionError) as error:  # JAX raises either, depending on the platform
        said = (str(error) or "not here").splitlines()[0]
        asked = jax.config.jax_platforms  # type: ignore[attr-defined]  # JAX sets it at run time
        raise Mistake(
            f"JAX_PLATFORMS is {asked}, and JAX cannot use the CPU ({said}). "
            "jbatch reads schedules on the CPU: give platforms of this machine, cpu among them, "
            "such as JAX_PLATFORMS=cuda,cpu"
        ) from error


def _called(value: object) -> str:
    plain = isinstance(value, int | float | str | None)
    return shown(value) if plain else type(value).__name__
