"""Devices: the mesh over them, the one place where functions are mapped, and their memory."""
