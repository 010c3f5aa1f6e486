"""Try to save, and go on if it fails: the next save may succeed."""

from collections.abc import Callable

from jbatch.run.checkpoint import SaveFailed
from jbatch.run.run import Run


def attempt(run: Run, work: Callable[[], None]) -> bool:
    """Run a part of saving; if it fails, warn and continue, because the next save may succeed."""
    try:
        work()
    except SaveFailed as failure:
        run.unsaved = str(failure)
        run.progress.say(f"warning: could not save a checkpoint ({failure}). {kept(run)}")
        return False
    return True


def kept(run: Run) -> str:
    """Say which checkpoint a run can resume from."""
    newest = run.checkpoints.newest
    if newest is None:
        return "There is no checkpoint yet"
    return f"The last good checkpoint is update {run.plan.update_at(newest):,}"
