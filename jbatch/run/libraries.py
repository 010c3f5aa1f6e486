"""Configure JAX and Orbax once, before a command trains or evaluates."""

import errno
import logging
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

import jax

from jbatch.files import cache_folder
from jbatch.messages import tell
from jbatch.upstream_words import LOOP_CLOSED

MOST_CACHED = 10 << 30  # bytes of compiled functions; the least recently used are removed first


def prepare_libraries() -> None:
    """Cache compiled functions between commands, and silence the logs of Orbax."""
    _quieten()
    folder = cache_folder("xla")
    given = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]  # set at run time
    if given is None and _writable(folder):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        bound(folder, MOST_CACHED)
    # Small steps compile in less than JAX's default threshold of a second, but there are many.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def bound(folder: Path, most: int) -> None:
    """Remove the least recently used files of a folder that holds more than `most` bytes.

    It stops at three quarters of `most`, so that not every start removes files. JAX's own limit
    (jax_compilation_cache_max_size) writes a second file for each. It fails permanently if a kill
    comes between the two.
    """
    files = []
    for entry in os.scandir(folder):
        with suppress(OSError):  # removed by another process
            state = entry.stat(follow_symlinks=False)
            files.append((max(state.st_atime, state.st_mtime), state.st_size, entry.path))
    held = sum(size for _, size, _ in files)
    if held <= most:
        return
    for _, size, path in sorted(files):
        if held <= most * 3 // 4:
            return
        with suppress(OSError):
            os.unlink(path)
        held -= size


def _writable(folder: Path) -> bool:
    """Create a folder; return whether files can be written to it, and warn if not."""
    try:
        Path.home()  # raises RuntimeError without a home, which JAX needs
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return True
        why = os.strerror(errno.EACCES)
    except OSError as error:
        why = error.strerror or str(error)
    except RuntimeError:
        why = "there is no home directory"
    tell(
        f"jbatch: warning: cannot cache compiled functions in {folder} ({why}). Each start will "
        "compile again. To cache elsewhere, set XDG_CACHE_HOME"
    )
    return False


@cache  # once a process: each time would put one more hook before the last
def _quieten() -> None:
    """Hide the tracebacks of Orbax and tensorstore, because the run reports the error in one line.

    If a checkpoint cannot be read or written, Orbax logs a traceback for each of its threads and
    leaves coroutines unfinished. Threads of tensorstore then call the closed event loop. Python
    prints a traceback for each of these.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    hook = sys.unraisablehook

    def others(unraisable: "sys.UnraisableHookArgs") -> None:
        code = getattr(unraisable.object, "cr_code", None)
        of_orbax = code is not None and "orbax" in code.co_filename
        if not of_orbax and str(unraisable.exc_value) != LOOP_CLOSED:
            hook(unraisable)

    sys.unraisablehook = others
