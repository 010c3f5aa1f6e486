"""Plans: the batch size and learning rate of every update. Needs no accelerator."""
