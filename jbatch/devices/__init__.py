"""Devices: their mesh, the one place that maps functions over them, and their memory."""
