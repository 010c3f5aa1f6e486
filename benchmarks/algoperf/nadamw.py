"""NadamW by a plan of jbatch: all that the two submissions share.

The schedule is that of AlgoPerf's NadamW baseline, a warm-up and a cosine over the workload's
`step_hint`. It counts updates of the base batch, so it covers the same examples however the batch
grows. The harness reads batches of one size, the base batch, and an update takes several of them.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import optax
from algoperf import spec

import jbatch
from jbatch.plan.plan import Plan, Row

BATCH_SIZE = 64  # of every workload; the harness's step_hint of MNIST is for it
GROWTH = 2  # from size to size: each compiles a program while the clock runs


def get_batch_size(workload_name):
    """Return the examples of each batch that the harness reads."""
    return BATCH_SIZE


def start(workload, model_params, hyperparameters, largest):
    """Return the optimizer's state and the plan, whose batch grows up to `largest`.

    The harness keeps the second part of an optimizer's state as it is, and saves the first.
    """
    plan = plan_of(workload.step_hint, hyperparameters, largest)
    return optimizer(*numbers(plan.at(0))).init(model_params), plan


def plan_of(step_hint, hyperparameters, largest) -> Plan:
    """Return the plan: the rate decays where the batch does not grow."""
    length = round(hyperparameters.length * step_hint)
    warmup = round(hyperparameters.warmup_factor * length)

    def schedule(update):
        if update < warmup:
            return hyperparameters.learning_rate * update / warmup
        progress = (update - warmup) / (length - warmup)
        return hyperparameters.learning_rate * (1 + math.cos(math.pi * progress)) / 2

    return jbatch.couple(
        schedule,
        unit="updates",
        length=length,
        batch_size=BATCH_SIZE,
        max_batch_size=largest,
        growth_factor=GROWTH,
        momentum=1 - hyperparameters.one_minus_beta1,
        b2=hyperparameters.beta2,
        weight_decay=hyperparameters.weight_decay,
        hold=jbatch.Hold(momentum="half_life", b2="half_life"),
    )


def numbers(row: Row) -> tuple:
    """Return what NadamW is told of an update: the rate, β1, β2 and the weight decay."""
    return row.learning_rate, row.momentum, row.b2, row.weight_decay


def optimizer(rate, b1, b2, weight_decay) -> optax.GradientTransformation:
    return optax.nadamw(rate, b1, b2, weight_decay=weight_decay)


def data_selection(
    workload,
    input_queue,
    optimizer_state,
    current_param_container,
    model_state,
    hyperparameters,
    global_step,
    rng,
):
    """Return the next examples of the queue, as many as the plan has for this update."""
    _, plan = optimizer_state
    if global_step == len(plan):
        return {}
    count = plan.at(global_step).batch_size // BATCH_SIZE
    batches = [next(input_queue) for _ in range(count)]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *batches)


def update_params(
    workload,
    current_param_container,
    current_params_types,
    model_state,
    hyperparameters,
    batch,
    loss_type,
    optimizer_state,
    eval_results,
    global_step,
    rng,
):
    """Take one update; after the plan's last one, ask for the last evaluation."""
    state, plan = optimizer_state
    if global_step == len(plan):
        raise spec.TrainingCompleteError
    state, params, model_state = update(
        workload,
        state,
        current_param_container,
        model_state,
        batch,
        rng,
        numbers(plan.at(global_step)),
        hyperparameters.label_smoothing,
        hyperparameters.dropout_rate,
    )
    return (state, plan), params, model_state


@partial(jax.jit, static_argnums=0, donate_argnums=(1, 2, 3))
def update(workload, state, params, model_state, batch, rng, told, label_smoothing, dropout_rate):
    """Return the optimizer's state, the parameters and the model's state after an update."""

    def loss(params):
        logits, after = workload.model_fn(
            params,
            batch,
            model_state,
            spec.ForwardPassMode.TRAIN,
            rng,
            update_batch_norm=True,
            dropout_rate=dropout_rate,
        )
        losses = workload.loss_fn(
            label_batch=batch["targets"],
            logits_batch=logits,
            mask_batch=batch.get("weights"),
            label_smoothing=label_smoothing,
        )
        return losses["summed"] / losses["n_valid_examples"], after

    gradients, after = jax.grad(loss, has_aux=True)(params)
    updates, state = optimizer(*told).update(gradients, state, params)
    return state, optax.apply_updates(params, updates), after
