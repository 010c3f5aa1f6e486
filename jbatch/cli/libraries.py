"""What the libraries below are told once, before a command trains or evaluates."""

import logging
import sys

import jax

from jbatch.files import cache_folder

MOST_CACHED = 10 << 30  # bytes of compiled functions; the least used go first


def prepare_libraries() -> None:
    """Keep compiled functions between commands, and Orbax's notes on its own work to itself."""
    _quieten()
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder("xla")))
    if jax.config.jax_compilation_cache_max_size == -1:
        jax.config.update("jax_compilation_cache_max_size", MOST_CACHED)
    # Small steps compile in less than JAX's default threshold of a second, but there are many.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _quieten() -> None:
    """Of a checkpoint that cannot be read or written, a run says in a line what they say in pages.

    Orbax logs a traceback for each of its threads and leaves coroutines unfinished; and threads of
    tensorstore go on to call the event loop that has failed. Python prints a traceback of each.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    hook = sys.unraisablehook

    def others(unraisable) -> None:
        code = getattr(unraisable.object, "cr_code", None)
        of_orbax = code is not None and "orbax" in code.co_filename
        if not of_orbax and str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    sys.unraisablehook = others
