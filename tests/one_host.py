"""A few updates on streamed photographs, as one of several processes that train together.

python one_host.py FOLDER NUM_PROCESSES PROCESS_ID PORT
"""

import dataclasses
import json
import os
import sys
from contextlib import closing
from pathlib import Path

TINY = Path(__file__).parent / "tiny_photographs.py"
DEVICES = 8  # over all processes


def main(folder: Path, count: int, process: int, port: int) -> None:
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES // count}"
    import jax
    import numpy as np

    if count > 1:
        jax.distributed.initialize(f"localhost:{port}", count, process)
    from jbatch import compile
    from jbatch.ahead import Ahead
    from jbatch.checkpoint import parameters_digest
    from jbatch.drive import Driver
    from jbatch.evaluate import evaluate
    from jbatch.experiment_file import load_experiment_file
    from jbatch.micro_batch import cut
    from jbatch.opening import make_setup

    experiment = load_experiment_file(TINY).variant("growing")
    source = dataclasses.replace(experiment.data.source, path=folder)
    data = dataclasses.replace(experiment.data, source=source, workers=1)
    experiment = dataclasses.replace(experiment, data=data, micro_batch=2)
    plan = experiment.plan.plan()
    setup, data = make_setup(experiment, plan, jax.devices())
    passes = cut(set(plan.batch_sizes.tolist()), DEVICES, 8, experiment.micro_batch)
    state = compile.initializer(setup)(np.uint32(0))
    with (
        closing(Ahead(setup, passes)) as ahead,
        closing(data.feed(setup.mesh, 0, plan, passes, 0)) as feed,
        closing(data.test(setup.mesh, setup.evaluation_size)) as test,
    ):
        driver = Driver(setup, ahead, feed)
        for update in range(plan.num_updates):
            state = driver.update(state, plan.at(update))
        found = evaluate(ahead.evaluate(), state, test)
    loss = float(state.totals.loss / state.totals.examples)
    values = {"loss": loss, **found._asdict(), "digest": parameters_digest(state.params)}
    print(json.dumps(values))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
