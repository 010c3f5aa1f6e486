"""Ramps in the notations of other trainers, and those of published language models."""

import math
from pathlib import Path

import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jbatch
from jbatch.plan import notations
from jbatch.plan.table import plan_text

GOLDEN = Path(__file__).with_name("ramps.txt")
CONSTANT = optax.constant_schedule(0.1)
M = 2**20  # in "a batch of 4M tokens"

# Name → what couple takes. The rates are not theirs: 0.1 throughout, so that the table shows what
# the ramp does. Lengths are the published ones from GPT-3 to Llama 3, and ours after it.
PUBLISHED = {
    # Megatron-LM, tests/unit_tests/test_num_microbatches_calculator.py
    "Megatron-LM's unit test": {
        "ramp": "0:256 200000:512 600000:1024 1500000:2048 3000000:4096 6000000:6144",
        "unit": "examples",
        "length": 8_000_000,
    },
    # arXiv 2005.14165, as Megatron-LM's documentation rounds it
    "GPT-3": {
        "ramp": "0:16 2.4B:320 4.8B:624 7.2B:928 9.6B:1232 12B:1536",
        "sequence_length": 2048,
        "length": 300e9,
    },
    # arXiv 2402.16819
    "Nemotron-4 15B": {
        "ramp": "0:384 200B:768 400B:1152",
        "sequence_length": 4096,
        "length": 8e12,
    },
    # arXiv 2405.04434. The increments are ours: the report gives start, end and tokens.
    "DeepSeek-V2": {
        "ramp": notations.megatron_ramp(2304, 2304, 225 * 10**9 // 4096, 9216, 4096),
        "sequence_length": 4096,
        "length": 8.1e12,
    },
    # arXiv 2412.19437. The increments are ours, as above.
    "DeepSeek-V3": {
        "ramp": notations.megatron_ramp(3072, 3072, 469 * 10**9 // 4096, 15360, 4096),
        "sequence_length": 4096,
        "length": 14.8e12,
    },
    # arXiv 2407.21783, in sequences of 8,192 throughout; the run begins with 4,096
    "Llama 3 405B": {
        "ramp": notations.olmo_core_ramp([4 * M, 8 * M, 16 * M], [0, 252e6, 2.87e12], 8192),
        "sequence_length": 8192,
        "length": 15.6e12,
    },
    # arXiv 2501.08313
    "MiniMax-01": {
        "ramp": notations.olmo_core_ramp(
            [16 * M, 32 * M, 64 * M, 128 * M], [0, 69e9, 790e9, 4.7e12], 8192
        ),
        "sequence_length": 8192,
        "length": 7.2e12,
    },
    # arXiv 2505.23971
    "OLMo-1B": {
        "ramp": "0:1024 168B:2048 503B:4096",
        "sequence_length": 4096,
        "length": 608e9,
        "scaling": 0.5,
    },
    # Megatron-LM's --rampup-batch-size, as NeMo writes it
    "NeMo": {
        "ramp": "[32, 32, 65536]",
        "max_batch_size": 256,
        "sequence_length": 2048,
        "length": 1e9,
    },
    "MaxText's defaults, on 8 devices": {
        "ramp": notations.maxtext_ramp(4, 2, 500, 12, devices=8),
        "unit": "examples",
        "length": 2_000,
    },
    "DeepSpeed's defaults": {
        "ramp": notations.deepspeed_ramp(1024),
        "unit": "examples",
        "length": 2_000_000,
    },
}


def planned(name):
    values = {"unit": "tokens", "scaling": 0.0} | PUBLISHED[name]
    return jbatch.couple(CONSTANT, **values)


def test_published_ramps_are_as_printed(write_golden):
    text = "\n".join(f"== {name} ==\n{plan_text(planned(name))}" for name in PUBLISHED)
    if write_golden:
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text(), "pytest --write-golden, if the change is meant"


def test_megatrons_unit_test_gives_its_counts():
    counts = [phase.updates for phase in planned("Megatron-LM's unit test").phases]
    assert counts == [782, 781, 879, 733, 733, 324]


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_phase_begins_with_its_threshold(name):
    plan, tokens = planned(name), PUBLISHED[name].get("sequence_length", 1)
    ramp = PUBLISHED[name]["ramp"]
    if isinstance(ramp, str) and ":" in ramp:
        ramp = notations.steps(ramp)
    elif isinstance(ramp, str):
        ramp = notations.megatron_ramp(32, 32, 65536, 256, tokens)
    assert [phase.batch_size for phase in plan.phases] == list(ramp.values())
    for phase, start in zip(plan.phases, ramp, strict=True):
        first = plan.at(phase.first_update).position * tokens
        before = plan.at(max(0, phase.first_update - 1))
        assert start <= first < start + max(1, before.batch_size * tokens)


def test_phases_are_checked_against_devices_beforehand():
    plan = planned("GPT-3")
    plan.check(16, None)
    with pytest.raises(jbatch.Mistake) as caught:
        plan.check(32, None)
    assert str(caught.value) == (
        "batch 16 does not divide over 32 devices: use 32; "
        "batch 624 does not divide over 32 devices: use 608 or 640; "
        "batch 1,232 does not divide over 32 devices: use 1,216 or 1,248"
    )


def megatron(start, increment, samples, end, consumed):
    """The size after so many samples, as Megatron-LM computes it."""
    if consumed > samples:
        return end
    return start + consumed * ((end - start) // increment) // samples * increment


@given(st.integers(1, 64), st.integers(1, 64), st.integers(0, 8), st.integers(1, 5_000))
def test_megatrons_increments(start, increment, count, samples):
    end = start + count * increment
    plan = jbatch.couple(
        CONSTANT,
        unit="examples",
        length=samples + 3 * end,
        ramp=f"--rampup-batch-size {start} {increment} {samples}",
        max_batch_size=end,
        scaling=0.0,
    )
    for row in plan:
        assert row.batch_size == megatron(start, increment, samples, end, row.position)


@given(
    st.integers(1, 8), st.integers(1, 8), st.integers(1, 8), st.integers(1, 5000), st.integers(1, 9)
)
def test_maxtexts_increments(start, increment, count, samples, devices):
    end = start + count * increment
    ramp = jbatch.maxtext_ramp(start, increment, samples, end, devices)
    plan = jbatch.couple(
        CONSTANT, unit="examples", length=max(ramp) + 5 * end * devices, ramp=ramp, scaling=0.0
    )
    size, since = start * devices, 0  # its manager, update by update
    for row in plan:
        assert row.batch_size == size
        since += size
        if since * count >= samples and size < end * devices:
            size, since = size + increment * devices, 0


@given(st.integers(1, 5000), st.floats(0.01, 1), st.integers(20, 2000), st.integers(2, 20))
def test_deepspeeds_intervals(final, share, warmup, intervals):
    ramp = jbatch.deepspeed_ramp(final, share, warmup, intervals)
    plan = jbatch.couple(
        CONSTANT, unit="examples", length=max(ramp) + 5 * final, ramp=ramp, scaling=0.0
    )
    steps = np.linspace(0, warmup, intervals).astype(int)
    sizes = np.linspace(math.ceil(share * final), final, intervals).astype(int)
    for row in plan:
        assert row.batch_size == sizes[np.searchsorted(steps, row.update, side="right") - 1]


def test_olmo_cores_steps_are_updates_of_the_run():
    ramp = jbatch.olmo_core_ramp([1024, 2048, 8192], [0, 10, 15], 128, unit="steps")
    assert ramp == {0: 8, 10 * 1024: 16, 10 * 1024 + 5 * 2048: 64}
    plan = jbatch.couple(
        CONSTANT, unit="tokens", sequence_length=128, length=50_000, ramp=ramp, scaling=0.5
    )
    assert [(phase.first_update, phase.batch_size) for phase in plan.phases] == [
        (0, 8),
        (10, 16),
        (15, 64),
    ]
    # Its rate follows the square root of the batch.
    np.testing.assert_allclose(
        [phase.learning_rate[0] for phase in plan.phases],
        0.1 * np.sqrt([1, 2, 8]),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("text", "ramp"),
    [
        ("0:768 250B:1536", {0: 768, 250e9: 1536}),
        ("0:16,2.4b:320", {0: 16, 2.4e9: 320}),
        ("0:1 1K:2 1M:3 1T:4", {0: 1, 1e3: 2, 1e6: 3, 1e12: 4}),
        ("0:1 0.5:2", {0: 1, 0.5: 2}),
    ],
)
def test_thresholds_take_suffixes(text, ramp):
    assert notations.steps(text) == ramp


@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=6),
    st.sampled_from(["", "K", "M", "B", "T", "k", "b"]),
    st.sampled_from([" ", ", ", "  ", ","]),
)
def test_what_is_written_is_read(sizes, suffix, between):
    written = [f"{place}{suffix}:{size}" for place, size in enumerate(sizes)]
    scale = notations.SUFFIXES[suffix.upper()]
    read = notations.steps(between.join(written))
    assert read == {place * scale: size for place, size in enumerate(sizes)}
    if len(written) > 1:
        with pytest.raises(jbatch.Mistake, match="thresholds must rise"):
            notations.steps(between.join(reversed(written)))


@pytest.mark.parametrize("text", ["32 32 65536", "[32, 32, 65536]", " 32,32,65536 "])
def test_increments_are_read_from_flags_and_lists(text):
    assert notations.increments(text) == (32, 32, 65536)
    assert notations.increments(f"--rampup-batch-size {text.strip()}") == (32, 32, 65536)
    assert notations.increments("0:768 250B:1536") is None


def test_samples_of_an_increment_are_examples_in_every_unit():
    values = {"ramp": "16 16 400", "max_batch_size": 48, "scaling": 0.0}
    plans = [
        jbatch.couple(CONSTANT, **values, unit="examples", length=1600),
        jbatch.couple(CONSTANT, **values, unit="tokens", sequence_length=7, length=1600 * 7),
        jbatch.couple(CONSTANT, **values, unit="updates", length=100),
        jbatch.couple(CONSTANT, **values, num_examples=1600, num_epochs=1),
    ]
    assert {tuple(plan.batch_sizes) for plan in plans} == {tuple(plans[0].batch_sizes)}
    assert [phase.updates for phase in plans[0].phases] == [13, 6, 25]
    values |= {"base_batch_size": 8, "adapt_regime": True}  # stretches the ramp too
    examples = jbatch.couple(CONSTANT, **values, unit="examples", length=800)
    updates = jbatch.couple(CONSTANT, **values, unit="updates", length=100)
    assert examples.digest == updates.digest
    assert [phase.updates for phase in examples.phases] == [25, 13, 16]


IMPOSSIBLE = {
    "misses its end": (lambda: jbatch.megatron_ramp(32, 32, 100, 100), "does not end at 100"),
    "ends below": (lambda: jbatch.megatron_ramp(32, 32, 100, 16), "does not end at 16"),
    "no samples": (lambda: jbatch.megatron_ramp(32, 32, 0, 64), "samples of the ramp is 0"),
    "no devices": (lambda: jbatch.maxtext_ramp(4, 2, 500, 8, 0), "devices of the ramp is 0"),
    "too few starts": (
        lambda: jbatch.olmo_core_ramp([8, 16], [0], 8),
        "2 batch_sizes and a schedule of 1",
    ),
    "parts of an example": (
        lambda: jbatch.olmo_core_ramp([8, 12], [0, 1], 8),
        "batch of 12 tokens is not made of whole examples of 8 tokens",
    ),
    "starts fall": (
        lambda: jbatch.olmo_core_ramp([8, 16, 32], [0, 200, 100], 8),
        "a start at 100 after 200: starts must rise",
    ),
    "steps fall": (
        lambda: jbatch.olmo_core_ramp([8, 16, 32], [0, 2, 2], 8, unit="steps"),
        "a start at 2 after 2: starts must rise",
    ),
    "epochs of OLMo-core": (
        lambda: jbatch.olmo_core_ramp([8], [0], 8, unit="epochs"),
        "unit of the ramp is 'epochs': give tokens or steps",
    ),
    "one interval": (lambda: jbatch.deepspeed_ramp(8, num_intervals=1), "num_intervals is 1"),
    "no share": (lambda: jbatch.deepspeed_ramp(8, 0), "min_batch_size_multiplier is 0.0"),
    "too few updates": (
        lambda: jbatch.deepspeed_ramp(100, 0.1, warmup_num_steps=2, num_intervals=9),
        "starts must rise",
    ),
}


@pytest.mark.parametrize(("make", "message"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_impossible_ramps_are_refused(make, message):
    with pytest.raises(jbatch.Mistake, match=message):
        make()
