"""Tasks: the network to train, and how each example is scored."""
