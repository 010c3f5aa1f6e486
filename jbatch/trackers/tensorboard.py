"""Events for TensorBoard, written as they come.

tensorboardX's own writer has a thread of its own, which a full disk ends, and which is then waited
for without an end.
"""

import time
from collections.abc import Mapping
from pathlib import Path


class Events:
    """A file of events."""

    def __init__(self, directory: Path, first_update: int):
        """Begin a file; TensorBoard hides what earlier ones say of `first_update` and after it."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        directory.mkdir(exist_ok=True)
        self._file = EventsWriter(str(directory / "events"))
        started = SessionLog(status=SessionLog.START)
        self._file.write_event(Event(step=first_update, file_version="brain.Event:2"))
        self._file.write_event(Event(step=first_update, session_log=started))

    def write(self, update: int, scalars: Mapping[str, float]) -> None:
        """Append named numbers of one update."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        summary = Summary(value=values)
        self._file.write_event(Event(wall_time=time.time(), step=update, summary=summary))
        self._file.flush()

    def close(self) -> None:
        """Close the file; all is flushed."""
        self._file.close()
