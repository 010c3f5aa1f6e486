"""What a run is: an experiment as values, and how its file is read."""
