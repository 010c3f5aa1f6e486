"""One training step: its pure functions, its compiled programs, and what calls them."""
