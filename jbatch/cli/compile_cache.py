"""JAX's persistent compilation cache."""

import os
from pathlib import Path

import jax


def use_compile_cache() -> None:
    """Keep compiled functions between commands, unless JAX was told where already."""
    if jax.config.jax_compilation_cache_dir is None:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(home / "jbatch" / "xla"))
    # Small steps compile in less than JAX's default threshold of a second, but there are many.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
