"""What the libraries below are told once, before a command trains or evaluates."""

import errno
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

import jax

from jbatch.files import cache_folder
from jbatch.messages import tell

MOST_CACHED = 10 << 30  # bytes of compiled functions; the least used go first


def prepare_libraries() -> None:
    """Keep compiled functions between commands, and Orbax's notes on its own work to itself."""
    _quieten()
    folder = cache_folder("xla")
    if jax.config.jax_compilation_cache_dir is None and _writable(folder):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        bound(folder, MOST_CACHED)
    # Small steps compile in less than JAX's default threshold of a second, but there are many.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def bound(folder: Path, most: int) -> None:
    """Remove what was used longest ago from a folder of files, where they are over `most` bytes.

    Down to three quarters, so that it is not done at each start. JAX's own bound
    (jax_compilation_cache_max_size) needs a second file beside each, and fails for good where a
    kill came between the two.
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
    """Whether files can be kept in a folder, which is made; if not, a person is told."""
    try:
        Path.home()  # which JAX wants to know
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return True
        why = os.strerror(errno.EACCES)
    except OSError as error:
        why = error.strerror
    except RuntimeError:
        why = "there is no home"
    tell(
        f"jbatch: warning: what is compiled cannot be kept in {folder} ({why}), and is compiled "
        "again at each start: XDG_CACHE_HOME says where else to keep it"
    )
    return False


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
