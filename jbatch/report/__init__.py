"""Make reports: tables, figures and the page."""

import logging

# Without a writable cache folder matplotlib warns at length; it then rebuilds its font list.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
