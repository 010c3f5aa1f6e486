"""Hostile and damaged input: one table, from which each kind's tests take theirs.

A case is what is given and what the one message says; the exit code is 2, and nothing is changed.
"""

from pathlib import Path

TINY = Path(__file__).parent.parent / "tiny.py"

# ---- experiment files: source → what `jbatch plan FILE growing` says -----------------------------

GOOD = TINY.read_text()
SCHEDULE = GOOD.partition("SCHEDULE = ")[2].partition("\n")[0]


def with_schedule(text: str) -> bytes:
    return GOOD.replace(f"SCHEDULE = {SCHEDULE}", text).encode()


def named(name: str) -> bytes:
    return (GOOD + f"\nvariants[{name}] = variants['growing']\n").encode()


def with_value(kind: str, value: str) -> bytes:
    change = f"{kind}=jbatch.{value}"
    return (
        "import dataclasses, jbatch\n"
        f"{GOOD}\nvariants = {{'growing': dataclasses.replace(variants['growing'], {change})}}\n"
    ).encode()


EXPERIMENT_FILES = {
    "widths in a set": (
        with_value("task", "Classify(jbatch.MLP(hidden={8}))"),
        r"does not load: task\.model\.hidden is \{8\}: give a tuple of int\n",
    ),
    "one width of text": (
        with_value("task", "Classify(jbatch.MLP(hidden=(8, '8')))"),
        r"(hidden is '8': give a whole number|task\.model\.hidden is \(8, '8'\): give a tuple of )",
    ),
    "a norm by name": (
        with_value("task", "Classify(jbatch.SmallCNN(norm='batch'))"),
        r"does not load: task\.model\.norm is 'batch': give NoNorm or GhostBatchNorm or ",
    ),
    "a name of a number": (
        with_value("data", "TFDS(3)"),
        r"does not load: data\.name is 3: give str\n",
    ),
    "an optimizer that was not made": (
        with_value("optimizer", "SGD"),
        r"does not load: optimizer is <class .*SGD'>: give one of jbatch",
    ),
    "a flag of text": (
        with_value("optimizer", "SGD(nesterov='no')"),
        r"does not load: optimizer\.nesterov is 'no': give bool\n",
    ),
    "exit": (b"\nimport sys\nsys.exit()\n", r"it\.py, line 3, does not load: SystemExit"),
    "exit 0": (b"raise SystemExit(0)", r"line 1, does not load: SystemExit: 0"),
    "interrupt": (b"raise KeyboardInterrupt", r"line 1, does not load: KeyboardInterrupt"),
    "generator": (b"\nraise GeneratorExit", r"line 2, does not load: GeneratorExit"),
    "own exception": (
        b"class Mine(BaseException): pass\nraise Mine('so')",
        r"line 2, does not load: Mine: so",
    ),
    "text that fails": (
        b"class Mine(Exception):\n    def __str__(self): raise ValueError\nraise Mine",
        r"line 3, does not load: Mine\n",
    ),
    "recursion": (b"def f(): f()\nf()", r"line 1, does not load: RecursionError"),
    "deep source": (b"x = " + b"(" * 5000 + b")" * 5000, r"does not load: \w+Error"),
    "a NUL": (b"x = 1\0", r"does not load: \w+Error|not a Python file"),
    "bytes": (b"\xff\xfe\0", r"is not a Python file"),
    "unknown encoding": (b"# coding: nothing\n", r"is not a Python file \(unknown encoding"),
    "syntax": (b"\nvariants = {", r"line 2, does not load: SyntaxError"),
    "lazy": (
        b"from collections.abc import Mapping\n"
        b"class Lazy(Mapping):\n"
        b"    def __len__(self): return 1\n"
        b"    def __iter__(self): return iter(['growing'])\n"
        b"    def __getitem__(self, name): raise OSError('not there')\n"
        b"variants = Lazy()\n",
        r"line 5, does not load: OSError: not there",
    ),
    "no sibling": (b"import nowhere_to_be_found", r"line 1, does not load: ModuleNotFoundError"),
    "schedule of a name": (
        with_schedule("SCHEDULE = lambda epoch: missing * epoch"),
        r"the schedule fails \(.*it\.py, line \d+\): NameError: name 'missing'",
    ),
    "schedule that exits": (
        with_schedule("def SCHEDULE(epoch): raise SystemExit(0)"),
        r"the schedule fails \(.*it\.py, line \d+\): SystemExit: 0",
    ),
    "schedule without end": (
        with_schedule("def SCHEDULE(epoch): return SCHEDULE(epoch)"),
        r"the schedule fails \(.*it\.py, line \d+\): RecursionError",
    ),
    "schedule of text": (with_schedule("SCHEDULE = lambda epoch: 'fast'"), r"the schedule "),
    "infinite at once": (
        with_schedule("import jax.numpy\nSCHEDULE = lambda e: 0.01 / jax.numpy.sqrt(e)"),
        r"the schedule gives inf at epoch 0: ",
    ),
    **{
        f"called {name}": (named(name), r"(a variant is called|name of a variant is) .*: use ")
        for name in (
            "'../out'",
            "'a/b'",
            "'..'",
            "'a, ..'",
            "'a\\0b'",
            "'\\ud800'",
            "'\\x1b[2J'",
            "'\\u202egniworg'",
            "''",
            "' '",
            "3",
            "None",
            "b'growing'",
            "'x' * 300",
        )
    },
}

# ---- numbers: arguments of `jbatch VERB tiny.py growing …` → what is said ------------------------

HUGE, LONG = 10**24, "9" * 5000
NUMBERS = {
    "endless": (["plan", "--plan.num-epochs", "1e18"], r"plan holds at most 10,000,000"),
    "no length": (["plan", "--plan.num-epochs", "1e-320"], r"before one whole batch: give a long"),
    "infinite": (["plan", "--plan.num-epochs", "inf"], r"num_epochs is inf: give a length over 0"),
    "no number": (["plan", "--plan.num-epochs", "nan"], r"num_epochs is nan"),
    "over int64": (["plan", "--plan.num-examples", HUGE], r"num_examples is 10{24}: give a whole"),
    "all of int64": (["plan", "--plan.num-examples", 2**63 - 1], r"num_examples is 9223372036854"),
    "5,000 digits": (["plan", "--plan.batch-size", LONG], r"--plan\.batch-size"),
    "size over int64": (["plan", "--plan.batch-sizes", 40, HUGE], r"batch_sizes go to 1,000,000,0"),
    "micro-batch 0": (["plan", "--micro-batch", 0], r"micro_batch is 0"),
    "wide": (
        ["train", "--task.model.hidden", 10**12],
        r"hidden is 1000000000000: give a whole .* most",
    ),
    "too wide": (
        ["train", "--task.model.hidden", 10**6, 10**6],
        r"the network has 1,000,07.* smaller",
    ),
    "deep": (
        ["plan", "--task.model.hidden", *[8] * 400],
        r"hidden has 400 layers: give at most 300",
    ),
    "padding": (["train", "--task.augment.pad", 10**9], r"pad is 1000000000: .* at most 1,024"),
    "memory": (["train", "--device-memory", "1e300"], r"device_memory is 1e\+300 GiB"),
    "seed": (["train", "--seed", 2**32], r"seed is 4294967296: give .* at most 4,294,967,295"),
    "seeds": (["compare", "--seeds", -1], r"seeds is -1: give a whole number of at least 0"),
    "devices": (["plan", "--devices", 10**12], r"devices is 1000000000000: .* most 100,000"),
    "interval": (["train", "--log-every", "0"], r"log_every is 0\.0: give a number of epochs"),
    "a grid without end": (
        ["sweep", "--grid", *(f"{name}={','.join('123456789')}" for name in "abcde")],
        r"over 10,000 points",
    ),
    "a flag and its opposite": (
        ["plan", "--task.augment.flip", "--task.augment.no-flip"],
        r"--task\.augment\.flip and --task\.augment\.no-flip .*: give only one",
    ),
    "a flag twice": (["train", "--seed", 1, "--seed=2"], r"--seed and --seed=2 .*: give only one"),
    "an epoch twice": (
        ["plan", "--plan.ramp", 0, 40, 0, 80, "--plan.batch-sizes", "None"],
        r"--plan\.ramp 0 40 0 80 gives epoch 0 twice",
    ),
    "an epoch twice, otherwise": (
        ["plan", "--plan.ramp", 0, 40, 1, 80, "1.0", 120, "--plan.batch-sizes", "None"],
        r"gives epoch 1 twice",
    ),
    "a maximum alone": (
        ["plan", "--plan.batch-sizes", "None"],
        r"max_batch_size is 120, .* the batch of 40 .*: give one of",
    ),
    "jitter on grey": (
        ["train", "--task.augment.color", 0.2],
        r"augment\.color is 0\.2, .* set it to 0",
    ),
    "a ghost batch over all": (
        ["train", "--task.model.norm.ghost-batch", 121],
        r"ghost batch of 121 .* largest batch, 120: give",
    ),
    "a port": (
        ["train", "--distributed", "--coordinator", "host:99999"],
        r"--coordinator is host:99999: give HOST:PORT",
    ),
    "a process of none": (
        [
            *("train", "--distributed", "--coordinator", "host:99"),
            *("--num-processes", 2, "--process-id", 2),
        ],
        r"--process-id is 2 of 2 processes: give 0 to 1",
    ),
}

# ---- a run's files: what stands in one → what a verb says of it ----------------------------------

DEEP = b"[" * 100_000 + b"]" * 100_000
ANYTHING = {  # no JSON of any run's file
    "empty": b"",
    "nothing": b"\0" * 100,
    "bytes": b"\xff\xfe",
    "deep": DEEP,
    "a list": b"[]\n",
    "a number": b"1\n",
    "NaN": b'{"update": NaN}\n',
    "huge": b'{"update": 1e999, "plan_digest": 1' + b"0" * 5000 + b"}\n",
    "half": b'{"kind": "train", "update": 1',
}
METRICS = b'{"kind": "train", "update": %b, "examples": 1500, "epoch": 1, "seconds": 1, '
METRICS += b'"loss": %b, "accuracy": %b, "updates_per_second": %b, "examples_per_second": 1}\n'
METRICS_LINES = {  # (update, loss, accuracy, updates per second)
    "text for a count": (b'"1"', b"1", b"1", b"1"),
    "less than none": (b"-1", b"1", b"1", b"1"),
    "half an update": (b"1.5", b"1", b"1", b"1"),
    "an update beyond all": (b"1" * 400, b"1", b"1", b"1"),
    "no speed": (b"1", b"1", b"1", b"0"),
    "a loss of text": (b"1", b'"low"', b"1", b"1"),
    "no loss": (b"1", b"null", b"1", b"1"),
}
