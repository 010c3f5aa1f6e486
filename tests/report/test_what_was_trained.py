"""What a report says was trained."""

from dataclasses import replace

from commands import TINY
from jbatch import MLP, Adam, Augment, load_file
from jbatch.experiment.described import describe
from jbatch.report.runs import Record
from jbatch.report.trained import trained, value_text

NORM = "GhostBatchNorm(ghost_batch=40, decay=0.99, eps=1e-05, scale=True)"
EXPERIMENT = load_file(TINY).variants["growing"]


def record(variant, experiment, parameters=None):
    plan = experiment.make_plan()
    return Record(TINY.parent, variant, describe(experiment), plan, [], parameters=parameters)


def facts(*records):
    return {(each.what, each.variants): each.value for each in trained(records)}


def test_what_all_share_is_said_once():
    bare = replace(EXPERIMENT, task=replace(EXPERIMENT.task, augment=Augment()))
    other = replace(bare, optimizer=Adam(b2=0.99))
    found = facts(record("a", EXPERIMENT, 4_321), record("a", EXPERIMENT), record("b", other))
    assert found == {
        ("task", ""): "Classify",
        ("network", ""): f"MLP(hidden=[32], norm={NORM})",
        ("parameters", "a"): "4,321",
        ("optimizer", "a"): "SGD()",
        ("optimizer", "b"): "Adam(b2=0.99, eps=1e-08)",
        ("augmentation", "a"): "Augment(pad=1)",
        ("augmentation", "b"): "no augmentation",
        ("dtype", ""): "float32",
        ("data", ""): "Digits()",
    }


def test_any_values_of_a_damaged_run_are_text():
    run = record("a", EXPERIMENT)
    deep = {"class": "A"}
    for _ in range(500):
        deep = {"class": "A", "inner": deep}
    for value in (None, [], "text", 3, deep):
        values = {"seed": 0, "task": value, "optimizer": value, "data": value}
        trained([replace(run, described=values)])
    assert len(value_text("x" * 1000)) == 300
    assert value_text(describe(MLP((8, 4)))) == "MLP(hidden=[8, 4], norm=NoNorm())"
