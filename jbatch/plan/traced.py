"""Schedules that JAX can trace, compiled for many values. The only file of plans that needs JAX."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import enable_x64  # an older JAX, without it, counts as none

from jbatch.errors import Mistake
from jbatch.plan.walk import LONG, SHORT, Values

Schedule = Callable[[Any], Any]  # a number → rate
Blocks = Callable[[npt.NDArray[Any]], jax.Array]  # many values → their rates


def traced(schedule: Schedule, single: bool) -> Callable[[Values], Values | None]:
    """Return the schedule for many values, at most `LONG`, compiled for the CPU.

    Args:
        schedule: a traceable function of one scalar.
        single: compute in float32, with values rounded towards zero; otherwise in float64.

    Returns:
        A function values → rates, float64 of shape (n,) both. It returns None if JAX cannot trace
        the schedule, as if it branches on its argument.
    """
    blocks = _blocks(schedule, single)

    def evaluate(values: Values) -> Values | None:
        padded = np.full(SHORT if len(values) <= SHORT else LONG, values[-1])
        padded[: len(values)] = values
        with (
            _on_cpu(),
            enable_x64(not single),
            jax.numpy_dtype_promotion("standard"),
        ):
            try:
                rates = blocks(_float32_towards_zero(padded) if single else padded)
            except jax.errors.JAXTypeError:
                return None
            return np.asarray(rates, np.float64)[: len(values)]

    return evaluate


def _blocks(schedule: Schedule, single: bool) -> Blocks:
    """Return the schedule compiled for many values; cached if the schedule can be hashed."""
    try:
        return _kept(schedule, single)
    except TypeError:  # a schedule that cannot be hashed
        return _kept.__wrapped__(schedule, single)


@lru_cache(64)
def _kept(schedule: Schedule, single: bool) -> Blocks:
    dtype = jnp.float32 if single else jnp.float64
    return jax.jit(jax.vmap(lambda value: jnp.asarray(schedule(value), dtype)))


def _float32_towards_zero(values: Values) -> npt.NDArray[np.float32]:
    rounded = values.astype(np.float32)
    return np.where(rounded > values, np.nextafter(rounded, np.float32(0)), rounded)


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
