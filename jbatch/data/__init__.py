"""Datasets: the order of examples, where they come from, and how they reach the devices."""
