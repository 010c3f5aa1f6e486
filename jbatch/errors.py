"""The one exception for a person's mistake."""


class Mistake(ValueError):
    """Something a person asked for cannot be done.

    The message names the value, the limit and the fix, on its own: the command line prints it
    without a traceback and exits with code 2.
    """
