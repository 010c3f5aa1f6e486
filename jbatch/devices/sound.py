"""Check that the compiler computes correctly: jaxlib 0.10.2 silently does not."""

import hashlib
import os
from contextlib import suppress
from functools import cache
from importlib.metadata import version

import jax
import numpy as np

from jbatch.errors import Mistake
from jbatch.files import cache_folder

FLAG = "--xla_cpu_experimental_ynn_fusion_type="
ROWS = 32_769  # one more than a block of the faulty loop


@cache
def check_sound() -> None:
    """Check that this process's JAX computes the expression of JAX issue 39103 correctly on CPU.

    A correct result is cached for this version, these flags and this machine.

    Raises:
        Mistake: if the result is wrong.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    of = f"{version('jaxlib')} {flags} {os.uname().nodename}"
    seen = cache_folder("sound") / hashlib.sha256(of.encode()).hexdigest()[:16]
    with suppress(OSError):
        if seen.exists():
            return
    if not _right():
        right = f"{flags} {FLAG}".strip()
        raise Mistake(
            f"jaxlib {version('jaxlib')} computes wrong values on this CPU, as 0.10.2 does (JAX "
            "issue 39103, a fused sum of squares). Install another version with pip install "
            f"'jax!=0.10.2' 'jaxlib!=0.10.2', or set XLA_FLAGS='{right}', which corrects 0.10.2"
        )
    with suppress(OSError):
        seen.parent.mkdir(parents=True, exist_ok=True)
        seen.touch()


def _right() -> bool:
    rows = np.linspace(-1, 1, 3 * ROWS, dtype=np.float32).reshape(ROWS, 3)
    identity = np.eye(3, dtype=np.float32)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        found = jax.jit(jax.vmap(lambda row: ((identity @ row) ** 2).sum()))(rows)
    # The tolerance covers three squares of at most 1, each rounded once, and two sums.
    return bool(np.allclose(found, (rows**2).sum(1), rtol=1e-6))
