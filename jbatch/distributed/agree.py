"""Several processes that train as one: joining, and telling each other things.

What they tell goes through the key-value store of JAX's distributed runtime, for which JAX has no
public interface yet.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import jax

from jbatch.distributed.preemption import Interrupted
from jbatch.errors import Mistake
from jbatch.messages import tell

JOIN_SECONDS = 300  # in which all processes must come
EXCHANGE_SECONDS = 600  # in which all must say what they have to, as after looking through data
LOST_SECONDS = 30  # without a sign of life, after which a process counts as dead
EXIT_SECONDS = 15  # that one waits for the others at its end
SECONDS_BETWEEN_WORDS = 30  # to a person who waits

Result = TypeVar("Result")
_numbers = itertools.count()


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> str:
    """Become one of the processes that train together; before anything touches a device.

    Args:
        coordinator: HOST:PORT where process 0 listens; None for what JAX finds (Cloud TPU, GKE,
            SLURM, Open MPI), as for the other two.
        num_processes: how many there are.
        process_id: which this is.

    Returns:
        What was found, for a person.

    Raises:
        Mistake: if nothing was found, or what was given does not fit together.
        Interrupted: if the others cannot be reached.
    """
    with waiting("the other processes to join", JOIN_SECONDS):
        try:
            jax.distributed.initialize(
                coordinator,
                num_processes,
                process_id,
                initialization_timeout=JOIN_SECONDS,
                heartbeat_timeout_seconds=LOST_SECONDS,
                shutdown_timeout_seconds=EXIT_SECONDS,
            )
        except RuntimeError as error:  # a port that is still held, a host that does not answer
            raise Interrupted(f"cannot join the cluster ({error}): start all again") from error
        except (ValueError, TypeError) as error:
            raise Mistake(
                f"cannot join a cluster ({error}): JAX finds Cloud TPU, GKE, SLURM and Open MPI by "
                "itself; elsewhere give --coordinator HOST:PORT --num-processes N --process-id I"
            ) from error
    return (
        f"process {jax.process_index()} of {jax.process_count()}, with "
        f"{jax.local_device_count()} of {jax.device_count()} {jax.devices()[0].device_kind} devices"
    )


def exchange(what: str, text: str) -> list[str]:
    """What every process says, by its number; all must call it, in the same order.

    Args:
        what: is exchanged, for a person who waits.
        text: what this process says.

    Raises:
        Interrupted: if one does not come in time.
    """
    if not jax.distributed.is_initialized():
        return [text]
    from jax._src.distributed import global_state

    count = jax.process_count()
    key = f"jbatch/{next(_numbers)} {what}"
    global_state.client.key_value_set(f"{key}/{jax.process_index()}", text)
    begun = said = time.monotonic()
    while True:
        pairs = global_state.client.key_value_dir_get(key)
        texts = {int(name.rpartition("/")[2]): text for name, text in pairs}
        if len(texts) == count:
            return [texts[process] for process in range(count)]
        missing = ", ".join(str(process) for process in range(count) if process not in texts)
        now = time.monotonic()
        if now - begun > EXCHANGE_SECONDS:
            raise Interrupted(
                f"process {missing} did not come to {what!r} within {EXCHANGE_SECONDS} s: see what "
                "it says, and start all processes again"
            )
        if now - said > SECONDS_BETWEEN_WORDS:
            said = now
            say(f"waits for process {missing} at {what!r} ({now - begun:.0f} s)")
        time.sleep(0.02)


def together(what: str, function: Callable[[], Result]) -> Result:
    """A function's result on this process, if it has succeeded on every one.

    Raises:
        Exception: what the function has raised here.
        Mistake: if it has raised on another process only, which is named.
    """
    try:
        result, failure = function(), None
    except Exception as error:  # the others must not wait for this process, whatever it is
        result, failure = None, error
    said = exchange(what, "" if failure is None else str(failure) or type(failure).__name__)
    if failure is not None:
        raise failure
    for process, text in enumerate(said):
        if text:
            raise Mistake(f"process {process}: {text}")
    return result


def check_same(values: Mapping[str, str]) -> None:
    """See that all processes have the same values, or a Mistake that names which do not."""
    for name, value in values.items():
        said = exchange(name, value)
        others = [process for process, other in enumerate(said) if other != said[0]]
        if others:
            raise Mistake(
                f"{name} differs between processes: {said[0]} on process 0, {said[others[0]]} on "
                f"process {', '.join(map(str, others))}: give all the same files and versions"
            )


def all_ended() -> bool:
    """Whether all processes come to their end within a short time of this one."""
    if not jax.distributed.is_initialized():
        return True
    from jax._src.distributed import global_state

    try:
        global_state.client.wait_at_barrier("jbatch/end", EXIT_SECONDS * 1000)
    except jax.errors.JaxRuntimeError:
        return False
    return True


def leave() -> None:
    """Part from the others, as JAX does at a process's end."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def first() -> bool:
    """Whether this is the process that writes."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


@contextmanager
def waiting(what: str, most: float) -> Iterator[None]:
    """Tell a person every so often what is waited for."""
    done = threading.Event()

    def say_so() -> None:
        begun = time.monotonic()
        while not done.wait(SECONDS_BETWEEN_WORDS):
            say(f"waits for {what} ({time.monotonic() - begun:.0f} of {most:g} s)")

    thread = threading.Thread(target=say_so, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def say(text: str) -> None:
    """Tell a person."""
    tell(f"jbatch: {text}")
