"""Join the processes that train one run, exchange text between them, and compare it.

The text goes through the key-value store of JAX's distributed runtime. JAX has no public interface
for it yet.
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

JOIN_SECONDS = 300  # time limit for all processes to join
EXCHANGE_SECONDS = 600  # time limit of an exchange; one process may still be hashing its dataset
LOST_SECONDS = 30  # a process without a heartbeat for so long counts as lost
EXIT_SECONDS = 15  # a process waits so long for the others when it ends
SECONDS_BETWEEN_WORDS = 30  # between messages while waiting

Result = TypeVar("Result")
_numbers = itertools.count()


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> str:
    """Join the cluster. Call it before anything touches a device.

    Args:
        coordinator: HOST:PORT where process 0 listens; None to let JAX find it (Cloud TPU, GKE,
            SLURM, Open MPI).
        num_processes: the number of processes; None to let JAX find it.
        process_id: the number of this process; None to let JAX find it.

    Returns:
        A line for the log: this process's number, and its devices.

    Raises:
        Mistake: if JAX finds no cluster, or the arguments contradict each other.
        Interrupted: if the other processes cannot be reached.
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
        except RuntimeError as error:  # the port is still in use, or a host does not answer
            raise Interrupted(
                f"cannot join the cluster ({error}): restart all processes"
            ) from error
        except (ValueError, TypeError) as error:
            raise Mistake(
                f"cannot join a cluster ({error}). JAX finds Cloud TPU, GKE, SLURM and Open MPI by "
                "itself. Elsewhere give --coordinator HOST:PORT --num-processes N --process-id I"
            ) from error
    return (
        f"process {jax.process_index()} of {jax.process_count()}, with "
        f"{jax.local_device_count()} of {jax.device_count()} {jax.devices()[0].device_kind} devices"
    )


def exchange(what: str, text: str) -> list[str]:
    """Return the text of every process, by its number. All must call it in the same order.

    Args:
        what: names the exchange in messages.
        text: this process's text.

    Raises:
        Interrupted: if a process does not call it within EXCHANGE_SECONDS.
    """
    if not jax.distributed.is_initialized():
        return [text]
    from jax._src.distributed import global_state

    client, count = global_state.client, jax.process_count()
    assert client is not None  # as is_initialized says
    key = f"jbatch/{next(_numbers)} {what}"
    client.key_value_set(f"{key}/{jax.process_index()}", text)
    begun = said = time.monotonic()
    while True:
        pairs = client.key_value_dir_get(key)
        texts = {int(name.rpartition("/")[2]): text for name, text in pairs}
        if len(texts) == count:
            return [texts[process] for process in range(count)]
        missing = ", ".join(str(process) for process in range(count) if process not in texts)
        now = time.monotonic()
        if now - begun > EXCHANGE_SECONDS:
            raise Interrupted(
                f"process {missing} did not reach {what!r} within {EXCHANGE_SECONDS} s. Check its "
                "log, then restart all processes"
            )
        if now - said > SECONDS_BETWEEN_WORDS:
            said = now
            say(f"waiting for process {missing} to reach {what!r} ({now - begun:.0f} s)")
        time.sleep(0.02)


def together(what: str, function: Callable[[], Result]) -> Result:
    """Call a function in every process; return its result if it succeeded in all of them.

    Raises:
        Exception: the function's own exception, if it raised in this process.
        Mistake: if it raised in another process; the message names that process.
    """
    failure: Exception | None = None
    try:
        result = function()
    except Exception as error:  # of any kind: the other processes must not wait for this one
        failure = error
    said = exchange(what, "" if failure is None else str(failure) or type(failure).__name__)
    if failure is not None:
        raise failure
    for process, text in enumerate(said):
        if text:
            raise Mistake(f"process {process}: {text}")
    return result


def check_same(values: Mapping[str, str]) -> None:
    """Raise Mistake if a value differs between processes; the message names them."""
    for name, value in values.items():
        said = exchange(name, value)
        others = [process for process, other in enumerate(said) if other != said[0]]
        if others:
            raise Mistake(
                f"{name} differs between processes: {said[0]} on process 0, {said[others[0]]} on "
                f"process {', '.join(map(str, others))}: give all the same files and versions"
            )


def all_ended() -> bool:
    """Return whether all processes end within EXIT_SECONDS of this one."""
    if not jax.distributed.is_initialized():
        return True
    from jax._src.distributed import global_state

    assert global_state.client is not None  # as is_initialized says
    try:
        global_state.client.wait_at_barrier("jbatch/end", EXIT_SECONDS * 1000)
    except jax.errors.JaxRuntimeError:
        return False
    return True


def leave() -> None:
    """Leave the cluster, as JAX does when a process ends."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def first() -> bool:
    """Return whether this is process 0, the one that writes."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


@contextmanager
def waiting(what: str, most: float) -> Iterator[None]:
    """Print a message every SECONDS_BETWEEN_WORDS seconds while the block waits."""
    done = threading.Event()

    def say_so() -> None:
        begun = time.monotonic()
        while not done.wait(SECONDS_BETWEEN_WORDS):
            say(f"waiting for {what} ({time.monotonic() - begun:.0f} of {most:g} s)")

    thread = threading.Thread(target=say_so, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def say(text: str) -> None:
    """Print a message to stderr."""
    tell(f"jbatch: {text}")
