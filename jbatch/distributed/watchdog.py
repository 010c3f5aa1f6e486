"""Ending with the process that started this one, however that ends."""

import os
import threading
import time

SECONDS_BETWEEN_LOOKS = 1.0


def end_with_parent(parent: int) -> None:
    """Watch, from a thread, for process `parent` to be gone, and end this one then."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
