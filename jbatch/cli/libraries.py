"""What the libraries below are told once, before a command trains or evaluates."""

import logging
import os
from pathlib import Path

import jax


def prepare_libraries() -> None:
    """Keep compiled functions between commands, and Orbax's notes on its own set-up to itself."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    if jax.config.jax_compilation_cache_dir is None:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "jbatch" / "xla"))
    # Small steps compile in less than JAX's default threshold of a second, but there are many.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
