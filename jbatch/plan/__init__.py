"""From a schedule to the batch size and learning rate of every update, on no device."""
