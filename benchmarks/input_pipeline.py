"""Measure photographs per second from disk to batches: jbatch, tf.data, a PyTorch DataLoader.

Each reads the same JPEG files, takes a random-resized crop, and gives shuffled uint8 batches of 256
at 224×224. Flip and normalization are left out, since a device does them. The pipelines take turns
in one process, with one worker per core. Each is written as its own users write it:

    jbatch       Photographs(ImageFolder(…)), decoded by worker processes through Grain
    tf.data      decode_and_crop_jpeg, resize, parallel map, batch, prefetch
    DataLoader   Pillow, the crop of torchvision's RandomResizedCrop

The benchmark measures TensorFlow and PyTorch if they are installed. It also measures the time to
jbatch's first batch, at the start and after 10⁹ examples, including the start of the workers. Last
it compares ways of decoding on one core: their speed, and how far their pixels are from Pillow's
antialiased ones.

    python -m benchmarks.input_pipeline --folder imagenette2 --json input_pipeline.json
"""

import dataclasses
import io
import math
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import cv2
import jax
import numpy as np
import optax
import simplejpeg
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.outcome import Common, Outcome, Table, run
from benchmarks.turns import ratio
from jbatch.data.image.crops import Box, random_crop
from jbatch.data.image.decode import cut_out, decode
from jbatch.data.image.photographs import ImageFolder, Photographs
from jbatch.data.image.records import File
from jbatch.data.open import load
from jbatch.devices import meshes
from jbatch.errors import Mistake
from jbatch.experiment.experiment import Coupling
from jbatch.machine import usable_cores
from jbatch.plan.passes import cut
from jbatch.report.drawing import STYLES

BATCH, SIZE = 256, 224
NEEDS = {"jbatch": "grain", "tf.data": "tensorflow", "DataLoader": "torch"}


@dataclasses.dataclass(frozen=True)
class Options(Common):
    """Measure photographs per second from disk to batches."""

    folder: Path | None = None
    """Image folder of train/CLASS/*. None: write photograph-like noise of 500×375 pixels."""
    enlarge: int = 1
    """Join this many photographs each way into one, for larger files with as much detail."""
    workers: int | None = None
    """Processes or threads of each pipeline. None: one per core."""
    windows: int = 7
    """Turns of each pipeline."""
    batches: int = 8
    """Batches in a turn."""


def main(options: Options) -> Outcome:
    """Measure; with --quick two turns of two batches, of small photographs."""
    if options.enlarge > 1 and options.folder is None:
        raise Mistake("--enlarge joins photographs: give their --folder")
    if options.quick:
        options = dataclasses.replace(options, windows=2, batches=2)
    workers = options.workers or usable_cores()
    with tempfile.TemporaryDirectory() as directory:
        folder = prepared(options, Path(directory))
        files = sorted((folder / "train").glob("*/*"))
        pipelines = measure(folder, files, workers, options)
        first = first_batch(folder, workers, options)
        few = files[:: max(1, len(files) // (30 if options.quick else 300))]
        decoders = compare_decoders(few, options)
    speeds = [
        (row["pipeline"], f"{row['images_per_second']:,.0f}", *row["ratio"].cells(2))
        for row in pipelines
    ]
    ways = [
        (row["decoder"], f"{row['images_per_second']:,.0f}", f"{row['error']:.2f}")
        for row in decoders
    ]
    notes = [f"{len(files):,} photographs, {workers} workers, {BATCH} a batch."]
    notes += [f"First batch from position {at} on: {spent:.2f} s." for at, spent in first.items()]
    notes += [f"{name} is not installed, and is left out." for name in absent()]
    return Outcome(
        [
            Table(("pipeline", "images/s", "jbatch over it", "quartiles"), speeds),
            Table(("decoding, one core", "images/s", "error of 255"), ways),
        ],
        {
            "pipelines": pipelines,
            "first_batch": first,
            "decoders": decoders,
            "workers": workers,
            "ratios": {
                f"jbatch/{row['pipeline']}, photographs": row["ratio"]
                for row in pipelines
                if row["pipeline"] != "jbatch"
            },
        },
        notes,
        lambda: _figure(pipelines),
    )


def absent() -> list[str]:
    """List the peers whose library is not installed."""
    return [name for name, module in NEEDS.items() if find_spec(module) is None]


def _figure(pipelines: list[dict]) -> tuple[str, Figure]:
    figure = Figure(figsize=(6, 2.6), layout="constrained")
    axes = figure.subplots()
    names = [row["pipeline"] for row in pipelines]
    axes.barh(names, [row["images_per_second"] for row in pipelines], color=STYLES[0]["color"])
    axes.invert_yaxis()
    axes.set_xlabel("photographs/s")
    return "From JPEG files to batches.", figure


# ---- whole pipelines ------------------------------------------------------------------------


def measure(folder: Path, files: list[Path], workers: int, options: Options) -> list[dict]:
    """Return images per second of each installed pipeline, and its ratio to jbatch's."""
    makers = {"jbatch": jbatch_batches, "tf.data": tf_batches, "DataLoader": torch_batches}
    seconds = {name: [] for name in makers if name not in absent()}
    for window in range(options.windows + 1):
        for name in seconds:
            # Made again each turn, so that no other pipeline's workers run during it.
            batches = makers[name](folder, files, workers)
            for _ in islice(batches, 2 * workers):  # drops the batches already in its queues
                pass
            begun = time.perf_counter()
            for images in islice(batches, options.batches):
                assert images.shape[-3:] == (SIZE, SIZE, 3)
            if window:  # the first warms the disk's cache
                seconds[name].append(time.perf_counter() - begun)
            batches.close()
    count = options.batches * BATCH
    return [
        {
            "pipeline": name,
            "images_per_second": count / float(np.median(times)),
            "ratio": ratio({key: np.array(of) for key, of in seconds.items()}, "jbatch", name),
        }
        for name, times in seconds.items()
    ]


def jbatch_batches(
    folder: Path, files: list[Path], workers: int, position: int = 0
) -> Iterator[np.ndarray]:
    """Yield jbatch's batches as a run on one device takes them, from a position on."""
    source = ImageFolder(folder, test="train")
    data = load(Photographs(source, SIZE, workers=workers))
    count = data.inputs.num_examples
    epochs = position / count + 1000 * BATCH / count + 1
    schedule = optax.constant_schedule(0.1)
    plan = Coupling(schedule, epochs, BATCH, num_examples=count, batch_sizes=(BATCH,)).plan()
    passes = cut([BATCH], 1, None, None)
    [layout] = passes[BATCH].layouts
    first = int(np.searchsorted(plan.positions, position))

    def batches() -> Iterator[np.ndarray]:
        feed = data.feed(meshes.make_mesh(jax.devices()[:1]), 0, plan, passes, first)
        try:
            for row in map(plan.at, range(first, plan.num_updates)):
                examples, *_ = feed.arguments(row.position, layout)
                yield jax.block_until_ready(examples["image"])
        finally:
            feed.close()

    return batches()


def tf_batches(folder: Path, files: list[Path], workers: int) -> Iterator[np.ndarray]:
    """Yield batches as TensorFlow's own ImageNet pipelines do."""
    import tensorflow as tf

    def load(path):
        data = tf.io.read_file(path)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(data),
            tf.zeros([1, 0, 4]),
            aspect_ratio_range=(3 / 4, 4 / 3),
            area_range=(0.08, 1.0),
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        window = tf.concat([begin[:2], size[:2]], 0)
        image = tf.image.decode_and_crop_jpeg(data, window, channels=3)
        return tf.cast(tf.image.resize(image, (SIZE, SIZE)), tf.uint8)

    dataset = tf.data.Dataset.from_tensor_slices([str(path) for path in files])
    dataset = dataset.shuffle(len(files)).repeat()
    dataset = dataset.map(load, num_parallel_calls=workers).batch(BATCH)
    yield from dataset.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()


def torch_batches(folder: Path, files: list[Path], workers: int) -> Iterator[np.ndarray]:
    """Yield batches as PyTorch's ImageNet example does, but of uint8."""
    from torch.utils.data import DataLoader, RandomSampler

    dataset = PillowCrops(files)
    sampler = RandomSampler(dataset, replacement=True, num_samples=1_000_000)
    loader = DataLoader(
        dataset, BATCH, sampler=sampler, num_workers=workers, prefetch_factor=2, drop_last=True
    )
    for images in iter(loader):
        yield images.numpy()


class PillowCrops:
    """Read a map-style dataset whose files Pillow opens."""

    def __init__(self, files: list[Path]):
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> np.ndarray:
        with Image.open(self._files[index]) as file:
            image = file.convert("RGB")
        top, left, height, width = distorted_box(image.height, image.width)
        edges = (left, top, left + width, top + height)
        return np.array(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=edges))


def distorted_box(height: int, width: int) -> Box:
    """Draw a crop as torchvision's RandomResizedCrop.get_params, with Python's random module."""
    for _ in range(10):
        area = height * width * random.uniform(0.08, 1.0)
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return Box(random.randint(0, height - h), random.randint(0, width - w), h, w)
    return Box(0, 0, height, width)


def first_batch(folder: Path, workers: int, options: Options) -> dict[str, float]:
    """Return seconds to jbatch's first batch, with its plan made, at position 0 and at 10⁹."""
    seconds = {0: [], 10**9: []}
    for _ in range(options.windows):
        for position, times in seconds.items():
            batches = jbatch_batches(folder, [], workers, position)
            begun = time.perf_counter()
            next(batches)
            times.append(time.perf_counter() - begun)
            batches.close()
    return {f"{position:,}": float(np.median(times)) for position, times in seconds.items()}


# ---- ways of decoding -----------------------------------------------------------------------


def compare_decoders(files: list[Path], options: Options) -> list[dict]:
    """Return images per second per core of each decoder, and its distance from Pillow's pixels."""
    cv2.setNumThreads(0)
    datas = [path.read_bytes() for path in files]
    jobs = []
    for position, data in enumerate(datas):
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        jobs.append((data, height, width, random_crop(0, position, height, width)))
    expected = [by_pillow(*job).astype(np.float32) for job in jobs]
    seconds = {name: [] for name in DECODERS}
    errors = {}
    for window in range(options.windows + 1):
        for name, way in DECODERS.items():
            begun = time.process_time()
            found = [way(*job) for job in jobs]
            if window:  # the first warms up
                seconds[name].append(time.process_time() - begun)
            errors[name] = np.mean(
                [np.abs(mine - theirs).mean() for mine, theirs in zip(found, expected, strict=True)]
            )
    return [
        {
            "decoder": name,
            "images_per_second": len(jobs) / float(np.median(times)),
            "error": float(errors[name]),
        }
        for name, times in seconds.items()
    ]


def by_pillow(data: bytes, height: int, width: int, box: Box, draft: bool = False) -> np.ndarray:
    """Resize antialiased like torchvision; `draft` lets libjpeg decode at a smaller scale."""
    image = Image.open(io.BytesIO(data))
    if draft:
        image.draft("RGB", (-(-width * SIZE // box.width), -(-height * SIZE // box.height)))
    down, right = image.height / height, image.width / width
    edges = (box.left * right, box.top * down)
    edges += ((box.left + box.width) * right, (box.top + box.height) * down)
    return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR, edges))


def by_opencv(data: bytes, height: int, width: int, box: Box, reduce: bool = False) -> np.ndarray:
    """Decode with OpenCV; `reduce` decodes at 1/2 or 1/4 if the crop is large enough."""
    times = min(box.height, box.width) // SIZE if reduce else 1
    flag = cv2.IMREAD_REDUCED_COLOR_4 if times >= 4 else cv2.IMREAD_REDUCED_COLOR_2
    flag = flag if times >= 2 else cv2.IMREAD_COLOR
    buffer = np.frombuffer(data, np.uint8)
    image = cv2.imdecode(buffer, flag | cv2.IMREAD_IGNORE_ORIENTATION)
    part = cut_out(image, height, width, box)
    return cv2.cvtColor(cv2.resize(part, (SIZE, SIZE)), cv2.COLOR_BGR2RGB)


def by_simplejpeg(
    data: bytes, height: int, width: int, box: Box, least_factor: float | None = None, **options
) -> np.ndarray:
    """Decode the whole image, or at the smallest of libjpeg's scales from 1/least_factor on."""
    if least_factor is not None:
        options["min_height"] = min(height, -(-height * SIZE // box.height))
        options["min_width"] = min(width, -(-width * SIZE // box.width))
        options["min_factor"] = least_factor
    image = simplejpeg.decode_jpeg(data, "RGB", **options)
    return cv2.resize(cut_out(image, height, width, box), (SIZE, SIZE))


def by_jbatch(data: bytes, height: int, width: int, box: Box) -> np.ndarray:
    """Decode as `jbatch.data.decode` does."""
    out = np.empty((SIZE, SIZE, 3), np.uint8)
    decode(File("", data, 0), lambda *_: box, out)
    return out


DECODERS: dict[str, Callable] = {
    "Pillow": by_pillow,
    "Pillow, draft": lambda *job: by_pillow(*job, draft=True),
    "OpenCV": by_opencv,
    "OpenCV, reduced": lambda *job: by_opencv(*job, reduce=True),
    "simplejpeg": by_simplejpeg,
    "simplejpeg, any scale": lambda *job: by_simplejpeg(*job, least_factor=1.0),
    "simplejpeg, fast DCT and upsampling": lambda *job: by_simplejpeg(
        *job, fastdct=True, fastupsample=True
    ),
    "jbatch (simplejpeg, 1/2 and below)": by_jbatch,
}


# ---- photographs to measure on --------------------------------------------------------------


def prepared(options: Options, directory: Path) -> Path:
    """Prepare the image folder that the options ask for."""
    if options.folder is not None and options.enlarge == 1:
        return options.folder
    (directory / "train" / "all").mkdir(parents=True)
    if options.folder is None:
        size = (94, 125) if options.quick else (375, 500)
        images = (noise(number, *size) for number in range(300))
    else:
        images = joined(sorted((options.folder / "train").glob("*/*")), options.enlarge)
    for number, image in enumerate(images):
        image.save(directory / "train" / "all" / f"{number}.jpg", quality=92)
    return directory


def joined(files: list[Path], times: int) -> Iterator[Image.Image]:
    """Write 300 images, each of `times` by `times` photographs side by side."""
    choose = random.Random(0)
    for _ in range(300):
        tiles = [Image.open(choose.choice(files)).convert("RGB") for _ in range(times**2)]
        width, height = tiles[0].size
        image = Image.new("RGB", (width * times, height * times))
        for place, tile in enumerate(tiles):
            down, right = divmod(place, times)
            image.paste(tile.resize((width, height)), (right * width, down * height))
        yield image


def noise(number: int, height: int, width: int) -> Image.Image:
    """Make noise whose amplitude falls with frequency, as in photographs."""
    rng = np.random.default_rng(number)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)) + 1 / width
    spectrum = np.fft.rfft2(rng.standard_normal((3, height, width))) / frequency
    field = np.fft.irfft2(spectrum, (height, width))
    field = 128 + 50 * (field - field.mean()) / field.std()
    return Image.fromarray(np.moveaxis(field.clip(0, 255), 0, -1).astype(np.uint8))


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    run(main, Options, __doc__)
