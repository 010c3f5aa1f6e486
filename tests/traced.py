"""The tiny experiment, that leaves in the folder TRACE the examples of every device and pass.

Its network is smooth: through the kink of a ReLU, rounding could become more than rounding. With
PERMUTED the devices of several processes take turns along the mesh, as on real machines; LATE is a
process that comes some seconds later than the others. OTHER is something that process 1 has
another of.
"""

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import jax
from flax import nnx
from sklearn import datasets

from jbatch import files
from jbatch.data.order import epoch_order
from jbatch.data.resident import ResidentData, ResidentFeed
from jbatch.devices import meshes, spmd
from jbatch.distributed import agree
from jbatch.run import job
from jbatch.task import classify
from tiny import variants as tiny_variants

# One update a call, for every pass to be asked for.
variants = {name: replace(made, updates_per_call=1) for name, made in tiny_variants.items()}

nnx.relu = nnx.silu
files.SECONDS_TO_APPEAR = 2
trace = Path(os.environ["TRACE"])
make_feed, make_mesh = ResidentData.feed, meshes.make_mesh
make_arguments, make_setup = ResidentFeed.arguments, job.make_setup


def feed(data, mesh, seed, *rest):
    made = make_feed(data, mesh, seed, *rest)
    made.rows, made.seed = meshes.local_rows(mesh), seed
    made.file = (trace / f"{jax.process_index()}-{os.getpid()}").open("w")
    return made


def arguments(made, position, layout):
    epoch, place = divmod(position, made._count)
    order = epoch_order(made.seed, epoch, made._count)
    ids = {row: order[place + layout.places(row)].tolist() for row in made.rows}
    print(json.dumps([position, ids]), file=made.file, flush=True)
    return make_arguments(made, position, layout)


def permuted_mesh(devices):
    in_turns = sorted(devices, key=lambda device: (device.id % 2, device.id))
    return jax.sharding.Mesh(in_turns, (spmd.AXIS,))


def late_setup(*rest):
    time.sleep(float(os.environ["SECONDS"]) * (jax.process_index() == int(os.environ["LATE"])))
    return make_setup(*rest)


ResidentData.feed, ResidentFeed.arguments = feed, arguments
if "PERMUTED" in os.environ:
    meshes.make_mesh = permuted_mesh
if "LATE" in os.environ:
    job.make_setup = late_setup
    agree.SECONDS_BETWEEN_WORDS = 1
    agree.EXCHANGE_SECONDS = float(os.environ["PATIENCE"])
match os.environ.get("OTHER") if jax.process_index() == 1 else None:
    case "data":
        fewer = datasets.load_digits()
        fewer.images %= 16
        datasets.load_digits = lambda: fewer
    case "version":
        job.version = lambda library: "1.2.3"
    case "program":
        classify.correct = lambda logits, labels: (logits.argmin(-1) == labels).astype("float32")
