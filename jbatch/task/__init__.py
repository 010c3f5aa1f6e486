"""What is trained: the network, and what each example scores."""
