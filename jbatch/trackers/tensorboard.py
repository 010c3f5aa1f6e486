"""TensorBoard: event files in the run directory, with hyperparameters and the plan as text."""

import time
from collections.abc import Mapping
from typing import Any

from jbatch.trackers.tracker import About, Outcome, scalars


class TensorBoard:
    """Writes to tensorboard/ in the run directory; every run has one.

    tensorboardX's own writer is not used: it has a thread, which a full disk ends, and then the
    writer waits for it forever.
    """

    def begin(self, about: About) -> None:
        """Create a file; TensorBoard then hides earlier events of the updates to come."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.summary import hparams, text

        directory = about.directory / "tensorboard"
        directory.mkdir(exist_ok=True)
        first = self._update = about.update
        self._file = EventsWriter(str(directory / "events"))
        started = SessionLog(status=SessionLog.START)
        self._file.write_event(Event(step=first, file_version="brain.Event:2"))
        self._file.write_event(Event(step=first, session_log=started))
        values = {name: "None" if value is None else value for name, value in about.values.items()}
        # The metrics are those that the table of hyperparameters shows beside them.
        experiment, begun, self._ended = hparams(values, {"eval/loss": 0.0, "eval/accuracy": 0.0})
        table = "".join(f"    {line}\n" for line in about.plan.splitlines())  # as code
        for summary in (experiment, begun, text("plan", table)):
            self._write(summary)

    def line(self, line: Mapping[str, Any]) -> None:
        """Append the line's numbers."""
        from tensorboardX.proto.summary_pb2 import Summary

        self._update = line["update"]
        values = scalars(line).items()
        self._write(Summary(value=[Summary.Value(tag=tag, simple_value=x) for tag, x in values]))

    def end(self, outcome: Outcome) -> None:
        """Close the file; every event is flushed."""
        if outcome == "finished":
            self._write(self._ended)
        self._file.close()

    def _write(self, summary: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), step=self._update, summary=summary)
        self._file.write_event(event)
        self._file.flush()
