"""Reports: tables, figures and the page."""
