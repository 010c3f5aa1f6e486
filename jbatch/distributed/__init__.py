"""Several processes that train as one: joining, agreeing, stopping together."""
