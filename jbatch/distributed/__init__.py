"""Several processes that train one run: join, agree, stop together."""
