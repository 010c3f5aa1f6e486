"""What libraries write in their errors and file names, where jbatch acts on it.

No library documents these. Each has a test against the real one, so an upgrade that changes a word
shows there.
"""

# XLA: a program needs more memory than a device has.
OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"

# JAX: how an error of a collective begins after another process is gone. Some faults of a program
# begin so too: then all processes resume once from the last checkpoint, and meet it again.
PEER_LOST = ("UNAVAILABLE", "UNKNOWN", "ABORTED", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL")

# JAX: Orbax waited too long for another process.
TOO_LATE = "DEADLINE_EXCEEDED"

# Orbax: folders of checkpoints that are not finished.
UNFINISHED = "*.orbax-checkpoint-tmp*"

# Orbax: a checkpoint's file of what is saved with it, as JSON with a field custom_metadata.
METADATA = "_CHECKPOINT_METADATA"

# Grain: a worker process died.
WORKER_DIED = "terminated unexpectedly"

# JAX: under vmap, a result that should be the same for all examples is not.
STATE_DIFFERS = "out_axes is None"

# JAX: a collective over an axis that nothing maps.
UNBOUND_AXIS = "unbound axis name"

# asyncio: threads of tensorstore call its loop after a save has failed.
LOOP_CLOSED = "Event loop is closed"

# libjpeg-turbo: the frame's rows end before the scan does, which goes on to a restart or the end.
ROWS_LEFT = r"extraneous bytes before marker 0xd[0-79]$"

# tyro: what it says of arguments, once its box is taken away.
UNKNOWN = "Unrecognized options:"
BAD_CHOICE = r"^invalid choice '(.*)' for argument '(.*)'\. Expected one of \((.*)\)\."
NO_VALUE = r"^Missing value for argument '(.*)'\."
MISSING = r"^Missing from .*: (--\S+)"
BAD_VALUE = r"^Error parsing (\S+): (.*)"
NO_TYPE = r"(?:be instantiated from|valid parse for arguments:) \[(.*?)\]"
