"""The training step: pure functions, compiled programs, and the driver that calls them."""
