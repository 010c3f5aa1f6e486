"""The bytes that a program moves, read off texts whose traffic can be added up by hand."""

import pytest

from jbatch.estimate.hlo_costs import collectives
from jbatch.estimate.hlo_text import read
from jbatch.estimate.traffic import cycles, traffic

PROGRAM = """HloModule jit_f, is_scheduled=true, num_partitions=4

%halved (p.0: f32[64,128]) -> f32[8,128] {
  %p.0 = f32[64,128]{1,0:T(8,128)} parameter(0)
  %zero = s32[] constant(0)
  ROOT %slice.1 = f32[8,128]{1,0:T(8,128)} dynamic-slice(%p.0, %zero, %zero)
}

%changed (p.1: f32[64,128], p.2: f32[8,128]) -> f32[64,128] {
  %p.1 = f32[64,128]{1,0:T(8,128)} parameter(0)
  %p.2 = f32[8,128]{1,0:T(8,128)} parameter(1)
  %zero.1 = s32[] constant(0)
  ROOT %put = f32[64,128]{1,0:T(8,128)} dynamic-update-slice(%p.1, %p.2, %zero.1, %zero.1)
}

%body (state: (s32[], f32[64,128])) -> (s32[], f32[64,128]) {
  %state = (s32[], f32[64,128]{1,0:T(8,128)}) parameter(0)
  %at = s32[] get-tuple-element(%state), index=0
  %all = f32[64,128]{1,0:T(8,128)} get-tuple-element(%state), index=1
  %twice = f32[64,128]{1,0:T(8,128)} add(%all, %all), backend_config={"estimated_cycles":"10"}
  ROOT %next = (s32[], f32[64,128]{1,0:T(8,128)}) tuple(%at, %twice)
}

%more (state.1: (s32[], f32[64,128])) -> pred[] {
  %state.1 = (s32[], f32[64,128]{1,0:T(8,128)}) parameter(0)
  ROOT %yes = pred[]{:S(4)} constant(true)
}

ENTRY %main (x: f32[64,128], y: bf16[3,5]) -> f32[64,128] {
  %x = f32[64,128]{1,0:T(8,128)} parameter(0)
  %y = bf16[3,5]{1,0:T(8,128)(2,1)} parameter(1)
BODY}
"""
X, SLICE = 4 * 64 * 128, 4 * 8 * 128  # bytes
PADDED = 2 * 8 * 128  # of y, which fills one tile


def program(*lines):
    return PROGRAM.replace("BODY", "".join(f"  {line}\n" for line in lines))


def module(*lines):
    return read(program(*lines))


def moved(*lines):
    return traffic(module(*lines))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ROOT %a = f32[64,128]{1,0:T(8,128)} add(%x, %x)", 3 * X),
        ("ROOT %a = f32[64,128]{1,0:T(8,128)S(1)} negate(%x)", X),  # its result stays on the chip
        ("ROOT %a = f32[128,64]{0,1:T(8,128)} bitcast(%x)", 0),
        ("ROOT %a = bf16[3,5]{1,0:T(8,128)(2,1)} negate(%y)", 2 * PADDED),
        ("ROOT %a = bf16[3,5]{1,0} negate(%y)", PADDED + 2 * 15),  # no tiles in its result
        ("ROOT %a = f32[8,128]{1,0:T(8,128)} slice(%x), slice={[0:8], [0:128]}", 2 * SLICE),
        ("ROOT %a = f32[8,128]{1,0} fusion(%x), kind=kLoop, calls=%halved", 2 * SLICE),
        ("ROOT %a = (f32[], bf16[2]{0:S(1)}, /*index=2*/pred[7]{0}) custom-call()", 4 + 7),
    ],
)
def test_operands_and_results_in_main_memory_count(line, expected):
    assert moved(line) == expected


def test_an_asynchronous_copy_counts_once():
    copied = (
        "%s = (f32[64,128]{1,0:T(8,128)S(1)}, f32[64,128]{1,0:T(8,128)}, u32[]{:S(2)}) "
        "copy-start(%x)",
        "%d = f32[64,128]{1,0:T(8,128)S(1)} copy-done(%s)",
    )
    assert moved(*copied) == X
    assert moved(*copied, "ROOT %a = f32[]{:S(4)} reduce(%d), to_apply=%more") == X


def test_an_asynchronous_slice_counts_the_slice_once():
    started = (
        "%s = ((f32[64,128]{1,0:T(8,128)}), f32[8,128]{1,0:T(8,128)S(3)}, s32[]{:S(2)}) "
        "slice-start(%x), slice={[0:8], [0:128]}",
        "ROOT %d = f32[8,128]{1,0:T(8,128)S(3)} slice-done(%s)",
    )
    assert moved(*started) == SLICE


def test_what_another_unit_of_the_chip_runs_is_read():
    """Its computation ends in the name of its thread."""
    line = "ROOT %f = f32[8,128]{1,0:T(8,128)} fusion(%x), kind=kLoop, calls=%halved"
    named = program(line).replace("\n}\n\n", '\n}, execution_thread="sparsecore"\n\n')
    assert named.count("execution_thread") == 4
    assert traffic(read(named)) == moved(line) == 2 * SLICE


def test_a_change_in_place_writes_the_change():
    slices = "%s = f32[8,128]{1,0:T(8,128)} fusion(%x), kind=kLoop, calls=%halved"
    change = "ROOT %a = f32[64,128]{1,0:T(8,128)} fusion(%x, %s), kind=kLoop, calls=%changed"
    assert moved(slices, change) == 2 * SLICE + 2 * SLICE


@pytest.mark.parametrize(("space", "reads"), [("", 2), ("S(1)", 0)])
def test_a_change_that_is_on_the_chip_is_written_alone(space, reads):
    lines = (
        f"%u = f32[8,128]{{1,0:T(8,128){space}}} slice(%x), slice={{[0:8], [0:128]}}",
        "%zero.3 = s32[] constant(0)",
        "ROOT %put.1 = f32[64,128]{1,0:T(8,128)} dynamic-update-slice(%x, %u, %zero.3, %zero.3)",
    )
    assert moved(*lines) == (2 + reads) * SLICE


def test_a_permutation_between_devices_counts_once():
    lines = (
        "%s = (f32[64,128]{1,0:T(8,128)}, f32[64,128]{1,0:T(8,128)}, u32[]{:S(2)}, u32[]{:S(2)})"
        " collective-permute-start(%x), source_target_pairs={{0,1},{1,0}}",
        "ROOT %d = f32[64,128]{1,0:T(8,128)} collective-permute-done(%s)",
    )
    assert moved(*lines) == 2 * X


def test_a_loop_counts_as_often_as_it_runs():
    lines = (
        "%zero.2 = s32[] constant(0)",
        "%t = (s32[], f32[64,128]{1,0:T(8,128)}) tuple(%zero.2, %x)",
        "ROOT %w = (s32[], f32[64,128]{1,0:T(8,128)}) while(%t), condition=%more, body=%body",
    )
    counted = ', backend_config={"known_trip_count":{"n":"5"},"known_init_step":{"init":"0"}}'
    assert moved(*lines) == 3 * X
    assert moved(*lines[:2], lines[2] + counted) == 5 * 3 * X
    assert cycles(module(*lines[:2], lines[2] + counted)) == 50


def test_all_reduces_are_read():
    lines = (
        "%r = (f32[64,128]{1,0:T(8,128)S(1)}, /*index=5*/f32[]{:T(128)}) all-reduce(%x, %x)",
        "%g = f32[64,128]{1,0} get-tuple-element(%r), index=0",
        "%s = bf16[3,5]{1,0} all-reduce-start(%y), channel_id=3",
        "ROOT %d = bf16[3,5]{1,0} all-reduce-done(%s)",
    )
    assert collectives(program(*lines)) == [X + 4, 2 * 15]


def test_a_scatter_and_a_gather_count_half_of_an_all_reduce():
    lines = (
        "%t = f32[8,32]{1,0} reduce-scatter(%b), replica_groups=[1,4]<=[4], dimensions={0}",
        "%g = f32[32,32]{1,0} all-gather(%c), channel_id=2, replica_groups=[1,4]<=[4]",
        "%h = (f32[8,32]{1,0}, f32[32,32]{1,0}) all-gather-start(%c), channel_id=3",
        "%i = f32[32,32]{1,0} all-gather-done(%h)",
    )
    assert collectives(program(*lines)) == [4 * 32 * 32 // 2] * 3
