"""Probe a run for its critical batch, and write beside it what was found."""

from collections.abc import Sequence
from pathlib import Path

from jbatch.analysis.probe import prepare, train
from jbatch.analysis.unfinished import unfinished
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Experiment
from jbatch.files import expanded
from jbatch.messages import tell
from jbatch.plan.probed import Probed
from jbatch.report.probed import write_probed
from jbatch.run.libraries import prepare_libraries
from jbatch.run.lock import refuse_links
from jbatch.run.reopen import made_in_python, remake
from jbatch.run.run import Run
from jbatch.run.trained import Trained


def probe(
    run: Path | str | Trained | Run,
    *,
    at: Sequence[float] = (0.1, 0.3, 0.6),
    multiples: Sequence[int] = (1, 2, 4, 8),
    window: float | None = None,
    tolerance: float = 0.01,
    seed: int | None = None,
    experiment: Experiment | None = None,
    trusted: bool = False,
) -> Probed:
    """Find the critical batch of a run: the largest that loses nothing at equal data.

    From checkpoints of the run, jbatch trains branches in larger batches, over the same examples
    (docs/noise.md). It writes JSON and figures to the run's probe/. The run stays as it is.
    Finished branches are kept until all are, so the same call goes on after it was interrupted.

    Args:
        run: its directory, or what `jbatch.load` or `jbatch.fit` returned for it.
        at: places to branch from, shares of the run's examples. The nearest checkpoints are taken,
            and those farther away than 0.05 refused.
        multiples: batch sizes of the branches, in multiples of the run's there; 1 is always one.
        window: length of a branch in plan.unit, rounded up to whole updates of the largest batch;
            None: all branches together train on 12% of the run's examples, but each for at least
            ten updates.
        tolerance: how much more loss than smaller batches a batch may have.
        seed: of the order in which branches see their examples; None: the run's plus 1.
        experiment: of the run, if it was made in Python.
        trusted: probe a run that another user trained, which runs its experiment file.

    Returns:
        What was found; `print` shows the table.

    Raises:
        Mistake: if the values are impossible, a place has no checkpoint, a batch is too large, or
            the run's own batch diverges.

    Examples:
        >>> plan = jbatch.Coupling(lambda epoch: 0.1, num_epochs=10, batch_size=16)
        >>> task, data = jbatch.Classify(jbatch.MLP()), jbatch.Digits()
        >>> digits = jbatch.Experiment(plan, task, data, save_every=1, keep_every=1)
        >>> run = jbatch.fit(digits, "runs/digits")
        >>> found = jbatch.probe(run, at=[0.5], multiples=[1, 8], experiment=digits)
        >>> found.critical_batch_sizes
        {0.5: 16}
    """
    prepare_libraries()
    directory = expanded(Path(run) if isinstance(run, Path | str) else run.directory)
    if experiment is None and made_in_python(directory):
        raise Mistake(
            f"{directory} has no experiment file, because it was made in Python: probe it there, "
            f"with jbatch.probe({str(directory)!r}, experiment=…)"
        )
    if experiment is None:
        _, _, experiment = remake(directory, trusted=trusted)
    refuse_links(directory)  # before hours of training, because results are written there

    def say(text: str) -> None:
        tell(f"jbatch: {text}")

    probing = prepare(
        experiment,
        directory,
        at=at,
        multiples=multiples,
        window=window,
        tolerance=tolerance,
        seed=seed,
        say=say,
    )
    with unfinished(directory) as kept:
        found = train(probing, kept, say)
        say(f"JSON and figures: {write_probed(directory, found)}")
        kept.remove()
    return found
