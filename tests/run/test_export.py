"""A model's arrays in a file."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import jbatch as jb
from jbatch.parameters import named
from jbatch.run.trained import weights
from trained_runs import DIGITS


@pytest.mark.parametrize("step", ["last", "best", 3000])
def test_export_writes_every_array_bit_for_bit(first, tmp_path, jbatch, step):
    to = tmp_path / "weights.safetensors"
    code, out, err = jbatch("export", first[1], "--to", to, "--step", step)
    assert (code, err) == (0, "")
    model = jb.load(first[1], step)
    arrays, what = load_file(to), json.loads(to.with_suffix(".json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {to.name, to.with_suffix(".json").name}
    assert arrays.keys() == weights(model).keys() == what["arrays"].keys()
    assert {name.partition("/")[0] for name in arrays} == {"params", "average"}
    for path, leaf in named({"params": model.params, "average": model.average}):
        found = arrays[path.replace(".", "/")]
        assert found.dtype == leaf.dtype
        assert found.tobytes() == np.asarray(leaf).tobytes()
    for name, array in arrays.items():
        assert what["arrays"][name] == {"dtype": str(array.dtype), "shape": list(array.shape)}
    assert what["metrics"] == model.metrics
    assert what["examples"] == model.examples
    numbers = sum(array.size for array in arrays.values())
    assert out.startswith(
        f"{len(arrays)} arrays with {numbers:,} numbers, after {model.examples:,}"
    )


def test_exported_arrays_predict_in_numpy(first, model, tmp_path, jbatch):
    """With the shift and factor that stand in the JSON file, and nothing of jbatch."""
    to = tmp_path / "w.safetensors"
    assert jbatch("export", first[1], "--to", to)[0] == 0
    arrays, what = load_file(to), json.loads(to.with_suffix(".json").read_text())
    kernels = sorted(name for name in arrays if name.startswith("params/") and "kernel" in name)
    head, layer = kernels
    by = what["normalization"]
    x = (DIGITS.test["image"].astype(np.float32) - by["shift"]) * by["factor"]
    hidden = x.reshape(297, -1) @ arrays[layer] + arrays[layer.replace("kernel", "bias")]
    logits = np.maximum(hidden, 0) @ arrays[head] + arrays[head.replace("kernel", "bias")]
    np.testing.assert_allclose(logits, model.predict(DIGITS.test), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "w.npz"), "--to is w.npz: give a name that ends in .safetensors"),
        (("--to", "safetensors"), "give a name that ends in .safetensors"),
        (("--to", "w.safetensors", "--step", "newest"), "--step is newest"),
        (("--to", "w.safetensors", "--step", "-1"), "--step is -1"),
        (("--to", "w.safetensors", "--step", "1500"), "has no checkpoint of 1500 examples"),
        ((), "--to"),
    ],
)
def test_export_refuses(first, tmp_path, jbatch, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = jbatch("export", first[1], *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert not list(tmp_path.iterdir())


def test_export_of_another_users_run_asks_for_trust(first, tmp_path, jbatch, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "theirs"))
    to = tmp_path / "w.safetensors"
    code, _, err = jbatch("export", first[1], "--to", to)
    assert code == 2
    assert "--trust" in err
    assert not to.exists()
    assert jbatch("export", first[1], "--to", to, "--trust")[0] == 0
    assert to.exists()
