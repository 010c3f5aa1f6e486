"""Reports: tables, figures and the page."""

import logging

# Where it cannot keep its list of fonts, matplotlib says so in pages, and makes it anew.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
