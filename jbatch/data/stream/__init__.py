"""Streaming: worker processes that decode examples ahead of the trainer."""
