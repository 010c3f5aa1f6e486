"""What happens in a run, and what it leaves in its directory."""
