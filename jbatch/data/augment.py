"""Random changes to training images, on the device, keyed by position."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Augment:
    """Which changes; none by default."""

    pad: int = 0
    """Pad with zeros by this many pixels, then crop back to size at random."""
    flip: bool = False
    """Mirror left and right, half of the time."""
