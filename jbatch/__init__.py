"""jbatch: a trainer in JAX that treats batch size as part of the schedule.

All that an experiment file or a notebook needs can be imported from here; `__init__.pyi` lists it.
Files that import from nothing below stay valid when modules move.
"""

import lazy_loader

# Each name is imported when asked for: the command line should answer, and stop, before JAX is there.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
