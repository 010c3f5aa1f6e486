"""`jbatch prepare`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import Progress, TaskID

from jbatch.cli.arguments import leading, read_options
from jbatch.cli.help import print_help, wants_help
from jbatch.errors import Mistake
from jbatch.messages import show, tell

USAGE = "jbatch prepare NAME --from PATH"
SECONDS_BETWEEN_LINES = 30  # without a terminal for a progress bar


@dataclass(frozen=True)
class Options:
    """Convert a dataset's official files, or an image folder, for TensorFlow Datasets.

    NAME, and the --from that it needs:
      cifar10, cifar100             "python version": its folder or tar.gz
      mnist, fashion_mnist, kmnist  the folder of the four idx files, gz or not
      imagenet2012                  the folder of ILSVRC2012_img_{train,val}.tar
      text                          a text file: see jbatch prepare text --help
      any other                     photographs as train/CLASS/* and val/CLASS/*:
                                    the folder, or a plain tar of it

    Then `tfds.data_source(NAME, data_dir=DIR)` reads the dataset, and so does TFDS(NAME) in an
    experiment. If the conversion was interrupted, run the same command again to resume.

    For example: jbatch prepare cifar10 --from cifar-10-python.tar.gz
    """

    source: Annotated[Path, tyro.conf.arg(name="from")]
    """The official file or the folder to read."""
    data_dir: Path | None = None
    """TensorFlow Datasets' directory. None: $TFDS_DATA_DIR, or ~/tensorflow_datasets."""


def run(arguments: Sequence[str]) -> None:
    """Convert the dataset and print how an experiment names it."""
    names, rest = leading(arguments)
    if names[:1] == ["text"]:
        from jbatch.cli import prepare_text

        prepare_text.run(arguments[1:])
        return
    if wants_help(rest):
        print_help(Options, USAGE)
    if len(names) != 1:
        raise Mistake(f"give one dataset name first, not {len(names)}: {USAGE}")
    options = read_options(Options, rest, USAGE)

    from jbatch.prepare import prepare

    tasks: dict[str, TaskID] = {}
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        said = time.monotonic()

        def progress(what: str, done: int, total: int) -> None:
            nonlocal said
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)
            if bar.disable and time.monotonic() - said > SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                tell(f"{names[0]}: {done:,} of {total:,} {what} examples")

        directory, counts, before = prepare(names[0], options.source, options.data_dir, progress)
    examples = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    show(f"{names[0]}: {examples} examples {'complete ' * before}in {directory}")
    if len(counts) == 1:
        show("There is no test split: training needs a second split, for example val/CLASS/*.")
    else:
        split = next(name for name in counts if name != "train")
        show(
            f"In an experiment: TFDS({names[0]!r}, test={split!r}), num_examples={counts['train']}"
        )
