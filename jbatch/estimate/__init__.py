"""Estimate the cost of a plan on TPUs or GPUs that are not here."""
