"""Convolutions of images: one function for networks, and what computes it on each platform."""
