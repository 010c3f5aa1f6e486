"""Estimate the cost of a plan on a TPU pod, without the pod."""
