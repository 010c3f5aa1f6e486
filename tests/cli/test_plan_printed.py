"""`jbatch plan` of experiments in tokens, and with ramps."""

import json
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "language_model_plan.py"
PRINTED = """\
Stream of 300B tokens (2,048 per example), momentum 0.9, scaling p = 0.5 (square root)

phase            tokens   updates   batch           learning rate                 noise scale
─────────────────────────────────────────────────────────────────────────────────────────────
1            0 – 160.8B   153,357     512     0 → 0.0006 → 0.0003   0 → 1.172e-05 → 5.859e-06
2       160.8B – 219.8B    28,123   1,024   0.0004243 → 0.0002121       4.143e-06 → 2.072e-06
3       219.8B – 268.1B    11,510   2,048        0.0003 → 0.00015       1.465e-06 → 7.324e-07
4         268.1B – 300B     3,807   4,096   0.0002121 → 0.0001697       5.179e-07 → 4.143e-07

196,797 updates; with the batch kept at 512 and the rate decayed, 286,102: 31.2% saved
Noise scale: ε/(1−m)/B, per example of the stream, as N is not known. Held is ε/B^0.5.
"""
TINY = Path(__file__).parents[1] / "tiny.py"


def test_a_plan_in_tokens_is_printed_in_tokens(jbatch):
    code, out, _ = jbatch("plan", EXAMPLE, "seesaw")
    assert code == 0
    assert out == PRINTED


@pytest.mark.parametrize(
    ("flags", "phases"),
    [
        ((), [(0, 16), (2_400_026_624, 320)]),
        (("--plan.ramp", "0:32 100B:64"), [(0, 32), (100e9, 64)]),
        (("--plan.ramp", "0", "32", "1e11", "64"), [(0, 32), (100e9, 64)]),
        (
            ("--plan.ramp", "512 512 1000000", "--plan.max-batch-size", "2048"),
            [(0, 512), (333_334 * 2048, 1024)],
        ),
        (
            ("--plan.ramp", "0:64 100B:32", "--plan.allow-shrink"),
            [(0, 64), (100e9, 32)],
        ),
        (
            ("--plan.unit", "updates", "--plan.length", "1000", "--plan.ramp", "0:8 100:16"),
            [(0, 8), (100 * 8 * 2048, 16)],
        ),
    ],
)
def test_flags_give_unit_length_and_ramp(jbatch, flags, phases):
    code, out, err = jbatch("plan", EXAMPLE, "ramp", "--json", *flags)
    assert code == 0, err
    found = json.loads(out)["phases"]
    assert len(found) >= len(phases)
    for (token, size), phase in zip(phases, found, strict=False):
        assert phase["batch_size"] == size
        assert 0 <= phase["first_token"] - token < 2048 * 2048  # with the next update


def test_a_dataset_may_count_tokens(jbatch):
    code, out, err = jbatch(
        *("plan", TINY, "growing", "--plan.unit", "tokens", "--plan.sequence-length", "64")
    )
    assert code == 0, err
    assert out.startswith("N = 1,500 examples, 4 epochs, 384,000 tokens (64 per example), ")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--plan.num-epochs", "2"), "num_epochs is 2.0 and length is 300000000000.0, and both"),
        (("--plan.ramp", "0:32 2B:64 1B:96"), "1B:96 after a threshold of 2,000,000,000"),
        (("--plan.ramp", "0:64 1B:32"), "does not ascend: give sizes that grow, or allow_shrink"),
        (("--plan.ramp", "32 32 65536"), "give the size that it ends at as max_batch_size"),
        (("--plan.sequence-length", "None"), "counts tokens, but sequence_length is not given"),
        (("--plan.unit", "epochs"), "plan.num_examples is not given"),
        (("--devices", "32"), "batch 16 does not divide over 32 devices: use 32; batch 624"),
    ],
)
def test_a_mistake_is_one_message(jbatch, flags, said):
    code, out, err = jbatch("plan", EXAMPLE, "ramp", *flags)
    assert (code, out) == (2, "")
    assert said in err
    assert err.startswith("jbatch: ")
    assert len(err.splitlines()) == 1


def test_training_a_stream_says_what_is_missing(jbatch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = jbatch("train", EXAMPLE, "ramp")
    assert code == 2
    assert "this experiment has no task and no data yet, so it can be planned (jbatch plan)" in err
    assert not list(tmp_path.iterdir())
