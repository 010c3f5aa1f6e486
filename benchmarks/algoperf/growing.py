"""The submission whose batch grows where the baseline's learning rate would decay."""

from benchmarks.algoperf.nadamw import (
    BATCH_SIZE,
    data_selection,
    get_batch_size,
    start,
    update_params,
)

__all__ = ["data_selection", "get_batch_size", "init_optimizer_state", "update_params"]


def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    """Return the optimizer's state and the plan."""
    return start(workload, model_params, hyperparameters, largest=64 * BATCH_SIZE)
