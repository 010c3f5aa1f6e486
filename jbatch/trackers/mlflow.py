"""MLflow."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jbatch.errors import Mistake
from jbatch.trackers.tracker import About, Outcome, Told, require, scalars

TAG = "jbatch.run"  # holds a run's id, by which its next start finds it
KINDS = ("train", "eval", "test", "diverged")
SECONDS_TOGETHER = 2.0  # that a line waits for others: a database takes many as fast as one
MOST_METRICS = 1000  # that a server takes at once
LONGEST = 500  # characters of a parameter, which some servers refuse if it is longer
STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@dataclass(eq=False)
class MLflow:
    """Sends lines to MLflow; raises Mistake if the library is not installed.

    Examples:
        >>> log = [jbatch.MLflow(experiment="digits")]  # of jbatch.fit
    """

    experiment: str | None = None
    """None: the name of the experiment file."""
    uri: str | None = None
    """A server, folder or database. None: MLFLOW_TRACKING_URI, or else MLflow's own default."""
    _client: Any = field(default=None, init=False, repr=False)
    _waiting: list[Any] = field(default_factory=list, init=False, repr=False)
    _sent: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        require("mlflow")

    def begin(self, about: About) -> None:
        """Begin a run, or continue with the one that is tagged with this run's id."""
        from mlflow import MlflowClient

        self._client = client = MlflowClient(self.uri)
        self._waiting, self._sent = [], 0.0
        name = self.experiment or about.project
        known = client.get_experiment_by_name(name)
        if known is not None and known.lifecycle_stage != "active":
            raise Mistake(f"its experiment {name} is deleted: restore it, or give another name")
        experiment = client.create_experiment(name) if known is None else known.experiment_id
        found = client.search_runs([experiment], f"tags.`{TAG}` = '{about.id}'")
        if found:
            self._run = found[0].info.run_id
            client.update_run(self._run, status="RUNNING")
            self._told = Told({kind: self._last(kind) for kind in KINDS})
        else:
            self._run = self._create(experiment, about)
            self._told = Told({})
        for line in about.earlier:
            self.line(line)

    def _create(self, experiment: str, about: About) -> str:
        from mlflow.entities import Param

        client = self._client
        tags = {TAG: about.id, "jbatch.directory": str(about.directory.absolute())}
        run: str = client.create_run(experiment, tags=tags, run_name=about.name).info.run_id
        params = [Param(name, str(value)[:LONGEST]) for name, value in about.values.items()]
        for first in range(0, len(params), 100):  # the most that a server takes at once
            client.log_batch(run, params=params[first : first + 100])
        client.log_text(run, about.plan, "plan.txt")
        return run

    def _last(self, kind: str) -> int:
        """Return the last update that the server has of a kind of line; -1 without one."""
        steps = [each.step for each in self._client.get_metric_history(self._run, f"{kind}/epoch")]
        return max(steps, default=-1)

    def line(self, line: Mapping[str, Any]) -> None:
        """Log a line's numbers at its update, lines that come fast together."""
        from mlflow.entities import Metric

        if self._told.new(line):
            now = int(time.time() * 1000)
            values = scalars(line).items()
            self._waiting += [Metric(name, value, now, line["update"]) for name, value in values]
        if time.monotonic() - self._sent > SECONDS_TOGETHER:
            self._send()

    def _send(self) -> None:
        for first in range(0, len(self._waiting), MOST_METRICS):
            metrics = self._waiting[first : first + MOST_METRICS]
            self._client.log_batch(self._run, metrics=metrics)
        self._waiting, self._sent = [], time.monotonic()

    def end(self, outcome: Outcome) -> None:
        """Send what is left, and set the status."""
        self._send()
        self._client.set_terminated(self._run, STATUS[outcome])
