"""Data: sources, order, augmentation, residence on the devices."""
