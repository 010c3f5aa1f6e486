"""The plan: from a schedule to the batch size and learning rate of every update. No device is used."""
