"""The tiny experiment, that leaves in the folder TRACE the examples of every device and pass.

With PERMUTED the devices of several processes take turns along the mesh, as on real machines.
"""

import json
import os
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from jbatch.devices import meshes
from jbatch.testing import at
from tiny import variants as tiny_variants

# One update a call, for every pass to be asked for.
variants = {name: replace(made, updates_per_call=1) for name, made in tiny_variants.items()}

# Not a point of ours: a smooth network, because through the kink of a ReLU rounding could become
# more than rounding.
nnx.relu = nnx.silu

file = (Path(os.environ["TRACE"]) / f"{jax.process_index()}-{os.getpid()}").open("w")


def record(given):
    layout, (_, order, _, (epoch, place)) = given
    ids = np.asarray(order)
    mine = {
        row: ids[place + layout.places(row)].tolist()
        for row in meshes.local_rows(order.sharding.mesh)
    }
    print(json.dumps([int(epoch) * len(ids) + int(place), mine]), file=file, flush=True)


def in_turns(mesh):
    devices = sorted(mesh.devices.flat, key=lambda device: (device.id % 2, device.id))
    return jax.sharding.Mesh(devices, mesh.axis_names)


at("pass", record)
if "PERMUTED" in os.environ:
    at("mesh", in_turns)
