"""A dataset in memory."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jbatch.errors import Mistake, shown, whole

# JAX has no 64-bit types by default.
NARROWER = {"float64": np.float32, "int64": np.int32, "uint64": np.uint32}


class Dataset(NamedTuple):
    """A training set, a test set and, if there is one, a validation set in memory.

    Each is a pytree of NumPy arrays with a leading axis over examples, such as {"image": …,
    "label": …}.

    Examples:
        >>> digits = jbatch.Digits().load()
        >>> digits.train["image"].shape, digits.test["label"].shape, digits.num_classes
        ((1500, 8, 8, 1), (297,), 10)
    """

    train: Any
    """The training set."""
    test: Any
    """The test set."""
    num_classes: int | None = None
    """None if it does not matter, or the labels tell."""
    class_names: tuple[str, ...] | None = None
    """Names of the classes, by number."""
    validation: Any = None
    """Evaluated during the run in place of the test set."""


def check_labels(what: str, labels: npt.NDArray[np.integer], num_classes: int) -> None:
    """Check that 0 ≤ label < num_classes for all labels.

    JAX raises no error for a label outside this range: the example would silently train as another
    class, or as none. Some datasets mark an example without a label by −1.

    Raises:
        Mistake: if a label is outside.
    """
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        first = int(outside[0])
        count = "1 label is" if len(outside) == 1 else f"{len(outside):,} labels are"
        raise Mistake(
            f"{what}: {count} not within 0 to {num_classes - 1}, the first at index {first:,} "
            f"({int(labels[first])}): remove examples without a label, or correct the number of "
            "classes"
        )


def checked(what: str, dataset: Any) -> Dataset:
    """Check a dataset, which a user's class may have made; 64-bit numbers become 32-bit ones.

    Args:
        what: its name in messages.
        dataset: what its `load` returned.

    Raises:
        Mistake: if an array's dtype, shape or a value cannot be trained on, or the splits differ.
    """
    if not isinstance(dataset, Dataset):
        raise Mistake(
            f"{what}.load() returned {shown(dataset)}: return a jbatch Dataset(train, test), each "
            "a dict of arrays with a leading axis over examples"
        )
    train, test = _split(what, "train", dataset.train), _split(what, "test", dataset.test)
    _check_alike(what, train, "test", test)
    validation = dataset.validation
    if validation is not None:
        validation = _split(what, "validation", validation)
        _check_alike(what, train, "validation", validation)
    if (classes := dataset.num_classes) is not None:
        classes = whole(f"num_classes of {what}", classes)
    return Dataset(train, test, classes, dataset.class_names, validation)


def checked_examples(examples: Any) -> Any:
    """Return examples as NumPy arrays, checked as those of a dataset are."""
    return _split("those given", "examples", examples)


def _check_alike(what: str, train: Any, name: str, split: Any) -> None:
    here, there = _kinds(train), _kinds(split)
    if here != there:
        differ = [name for name in {**here, **there} if here.get(name) != there.get(name)]
        told = [f"{name} is {here.get(name)} and {there.get(name)}" for name in differ]
        raise Mistake(
            f"the train and {name} examples of {what} differ: {'; '.join(told)}: give both the "
            "same arrays, with the same shapes and dtypes after the first axis"
        )


def _split(what: str, name: str, split: Any) -> Any:
    import jax  # here: `jbatch plan` reads experiment files without it

    paths, structure = jax.tree_util.tree_flatten_with_path(split)
    arrays = [_array(f"{name}{jax.tree_util.keystr(path)} of {what}", x) for path, x in paths]
    if not arrays:
        raise Mistake(f"the {name} set of {what} holds no array: give at least one")
    lengths = {
        f"{name}{jax.tree_util.keystr(path)}": len(array)
        for (path, _), array in zip(paths, arrays, strict=True)
    }
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{path} has {length:,}" for path, length in lengths.items())
        raise Mistake(f"the arrays of {what} have different numbers of examples: {told}")
    if not arrays[0].shape[0]:
        raise Mistake(f"the {name} set of {what} is empty: give at least one example")
    return jax.tree.unflatten(structure, arrays)


def _array(what: str, value: Any) -> npt.NDArray[Any]:
    """Return one array of a split as NumPy's, checked."""
    array = value if isinstance(value, np.ndarray) else None
    if array is None and hasattr(value, "__array__"):
        array = np.asarray(value)
    if array is None or array.ndim < 1:
        raise Mistake(
            f"{what} is {shown(value)}: give a NumPy array with a leading axis over examples"
        )
    if not (array.dtype.kind in "biufc" or array.dtype.name == "bfloat16"):
        raise Mistake(
            f"{what} holds {array.dtype} of shape {array.shape}: give numbers of one fixed shape; "
            "encode text as numbers, and pad lists of different lengths"
        )
    array = narrowed(what, array)
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(1))[0])
        raise Mistake(
            f"{what} has NaN or infinity, first in example {bad:,}: remove or replace such values"
        )
    return array


def narrowed(what: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return 64-bit numbers as 32-bit ones; raise Mistake if whole numbers do not fit."""
    narrow = NARROWER.get(array.dtype.name)
    if narrow is None:
        return array
    small = array.astype(narrow)
    if array.dtype.kind in "iu" and not np.array_equal(small, array):
        raise Mistake(f"{what} has numbers beyond those of {small.dtype}: give smaller ones")
    return small


def _kinds(split: Any) -> dict[str, str]:
    """Return the dtype and shape of each array of an example, by its path."""
    import jax

    return {
        jax.tree_util.keystr(path) or "the array": f"{leaf.dtype} of shape {leaf.shape[1:]}"
        for path, leaf in jax.tree_util.tree_flatten_with_path(split)[0]
    }
