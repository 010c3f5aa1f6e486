"""Write TensorBoard events without a thread.

tensorboardX's own writer uses a thread. A full disk ends that thread, and the writer then waits for
it forever.
"""

import time
from collections.abc import Mapping
from pathlib import Path


class Events:
    """An event file for TensorBoard."""

    def __init__(self, directory: Path, first_update: int):
        """Create a file; TensorBoard then hides earlier events from `first_update` on."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        directory.mkdir(exist_ok=True)
        self._file = EventsWriter(str(directory / "events"))
        started = SessionLog(status=SessionLog.START)
        self._file.write_event(Event(step=first_update, file_version="brain.Event:2"))
        self._file.write_event(Event(step=first_update, session_log=started))

    def write(self, update: int, scalars: Mapping[str, float]) -> None:
        """Append the named numbers of one update."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        summary = Summary(value=values)
        self._file.write_event(Event(wall_time=time.time(), step=update, summary=summary))
        self._file.flush()

    def close(self) -> None:
        """Close the file, which is flushed already."""
        self._file.close()
