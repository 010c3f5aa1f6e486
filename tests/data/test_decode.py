"""Decoding photographs, the odd ones included."""

import io
import struct
import zlib
from functools import partial

import numpy as np
import pytest
from PIL import Image

from jbatch.data.image import decode as decoder
from jbatch.data.image import picture as pictures
from jbatch.data.image.crops import Box, central_crop
from jbatch.data.image.decode import decode
from jbatch.data.image.picture import DamagedImage, open_picture
from jbatch.data.image.records import File
from photographs import encoded, picture


def decoded(data, size, crop=partial(central_crop, 1)):  # noqa: B008
    out = np.empty((size, size, 3), np.uint8)
    decode(File("a file", data, 0), crop, out)
    return out.astype(float)


def by_pillow(image, box, size):
    """The same part, resized with Pillow's antialiased filter."""
    edges = (box.left, box.top, box.left + box.width, box.top + box.height)
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=edges)
    return np.asarray(resized, float)


@pytest.mark.parametrize("shape", [(60, 80), (300, 200), (1000, 900), (20, 15)])
@pytest.mark.parametrize("size", [16, 64])
def test_the_part_is_cut_and_resized(shape, size):
    """At every scale of the decoder, and when the part must be made larger."""
    image = picture(1, *shape)
    box = Box(shape[0] // 5, shape[1] // 4, shape[0] // 2, shape[1] // 2)
    found = decoded(encoded(image), size, lambda height, width: box)
    # Gradients of up to 215 over the image: half a pixel of the smallest is 5 of 255.
    assert np.abs(found - by_pillow(image, box, size)).max() < 8
    assert np.abs(found - by_pillow(image, box, size)).mean() < 2


def test_the_whole_of_a_photograph_at_its_size_is_every_pixel():
    image = picture(2, 64, 64)
    np.testing.assert_array_equal(decoded(encoded(image, "PNG"), 64), image.astype(float))
    assert np.abs(decoded(encoded(image), 64) - image).max() <= 4  # what JPEG loses


def odd_ones():
    image = Image.fromarray(picture(3, 64, 64))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    return {
        "grey": (encoded(image.convert("L")), np.asarray(image.convert("L").convert("RGB"))),
        "CMYK": (encoded(image.convert("CMYK")), np.asarray(image)),
        "progressive": (encoded(image, progressive=True), np.asarray(image)),
        "4:4:4": (encoded(image, subsampling=0), np.asarray(image)),
        "EXIF": (encoded(image, exif=exif), np.asarray(image)),
        "PNG": (encoded(image, "PNG"), np.asarray(image)),
        "palette": (encoded(image.quantize(), "PNG"), np.asarray(image.quantize().convert("RGB"))),
        "alpha": (encoded(image.convert("RGBA"), "PNG"), np.asarray(image)),
    }


@pytest.mark.parametrize("kind", odd_ones())
def test_what_imagenet_holds_decodes(kind):
    data, expected = odd_ones()[kind]
    assert np.abs(decoded(data, 64) - expected).max() <= 6


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_what_is_made_much_smaller_is_averaged(form):
    """Of noise, the mean of 8×8 pixels and not one of them, whichever decoder reads it."""
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 1)).repeat(3, 2).astype(np.uint8)
    found = decoded(encoded(noise, form), 64)
    assert found.std() < 12  # 74 for single pixels, 9 for means of 64


def test_grey_of_16_bits_is_scaled():
    image = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    found = decoded(encoded(Image.fromarray(image), "PNG"), 64)
    np.testing.assert_allclose(found, (image // 257)[..., None].repeat(3, 2))


def test_an_enormous_picture_is_damaged(monkeypatch):
    monkeypatch.setattr(pictures, "MOST_PIXELS", 100)
    for form in ("PNG", "JPEG"):
        with pytest.raises(DamagedImage, match=r"300 × 400 pixels are over .* 100$"):
            decoded(encoded(picture(5, 400, 300), form), 16)


def test_a_real_bomb_is_damaged_before_it_is_decoded():
    """A PNG of 3 kilobytes whose header says 60,000 × 60,000, and a JPEG of 65,500 × 65,500."""
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0),
        b"IDAT": zlib.compress(bytes(3_000)),
        b"IEND": b"",
    }
    chunks = (
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
        for name, part in parts.items()
    )
    with pytest.raises(DamagedImage, match=r"60,000 × 60,000 pixels|too many pixels"):
        decoded(b"\x89PNG\r\n\x1a\n" + b"".join(chunks), 16)
    jpeg = bytearray(encoded(picture(5)))
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", 65_500, 65_500)
    with pytest.raises(DamagedImage, match="65,500 × 65,500 pixels are over"):
        decoded(bytes(jpeg), 16)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "BMP", "TIFF", "EPS", "PPM"])
def test_no_other_format_is_opened(form):
    with pytest.raises(DamagedImage, match="neither a JPEG nor a PNG"):
        decoded(encoded(picture(5), form), 16)


def test_the_first_picture_of_several_is_taken():
    """As phones write them: MPO."""
    first = Image.fromarray(picture(5, 64, 64))
    file = io.BytesIO()
    first.save(file, "MPO", save_all=True, append_images=[Image.fromarray(picture(6, 64, 64))])
    assert np.abs(decoded(file.getvalue(), 64) - picture(5, 64, 64)).max() <= 6
    assert open_picture(file.getvalue()).format == "MPO"


def test_large_and_small_photographs_may_follow_one_another():
    """The decoder's memory is used again."""
    for shape in ((300, 200), (30, 20), (500, 400), (60, 80)):
        image = picture(4, *shape)
        box = central_crop(1, *shape)
        found = decoded(encoded(image), 24)
        assert np.abs(found - by_pillow(image, box, 24)).mean() < 2


@pytest.mark.parametrize(
    "data",
    [b"", b"nothing", encoded(picture(5))[:900], encoded(picture(5), "PNG")[:900]],
    ids=["empty", "text", "cut JPEG", "cut PNG"],
)
def test_damaged_files_are_named_so(data):
    with pytest.raises(DamagedImage):
        decoded(data, 16)


def kinds_of_jpeg():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((401, 299), Image.Resampling.BICUBIC)
    kinds = {f"4:{of}": {"subsampling": index} for index, of in enumerate(("4:4", "2:2", "2:0"))}
    kinds |= {"optimized": {"optimize": True}, "progressive": {"progressive": True}}
    kinds |= {"restarts": {"restart_marker_rows": 1}}
    return {kind: encoded(image, **how) for kind, how in kinds.items()} | {
        "grey": encoded(image.convert("L"))
    }


@pytest.mark.parametrize("kind", kinds_of_jpeg())
def test_rows_below_the_part_change_no_pixel(kind, monkeypatch):
    """The decoder stops there; of a whole file it would decode the same."""
    data, cut_below = kinds_of_jpeg()[kind], decoder._cut_below
    boxes = [Box(top, 17, side, side) for side in (40, 97, 200) for top in (0, 13, 99)]
    cases = [(box, size) for box in boxes for size in (16, 40, 64)]
    found = [decoded(data, size, lambda *_, box=box: box) for box, size in cases]
    cut = []
    monkeypatch.setattr(
        decoder, "_cut_below", lambda *asked: cut.append(cut_below(*asked)[1]) or asked[:2]
    )
    for (box, size), mine in zip(cases, found, strict=True):
        np.testing.assert_array_equal(mine, decoded(data, size, lambda *_, box=box: box))
    # Later scans of a progressive file go through all rows again.
    assert (min(cut) < 299) == (kind != "progressive")


def test_damage_is_found_where_it_is_seen():
    """In the part or above it, or if the file is cut short; below the part it changes nothing."""
    data = kinds_of_jpeg()["4:2:0"]
    below, above = int(0.9 * len(data)), int(0.2 * len(data))

    def top(*_):
        return Box(0, 0, 100, 100)

    whole = decoded(data, 64, top)
    zeros = data[:below] + bytes(20) + data[below + 20 :]
    np.testing.assert_array_equal(decoded(zeros, 64, top), whole)
    no_marker = data[:above] + b"\xff\xc4\xff\xc4" + data[above + 4 :]
    for faulty in (no_marker, data[:below]):
        with pytest.raises(DamagedImage):
            decoded(faulty, 64, top)
