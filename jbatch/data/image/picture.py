"""Opening images of unknown origin: JPEG and PNG alone, and none larger than memory allows."""

import io
import warnings
from collections.abc import Sequence

FORMATS: Sequence[str] = ("JPEG", "PNG")  # the first reads MPO too: several in a file, of phones
MOST_PIXELS = 1 << 27  # of an image, 134 million: half a gigabyte once it is decoded
SUFFIXES = {".jpeg", ".jpg", ".jpe", ".jfif", ".png"}
OTHER_IMAGES = {".avif", ".bmp", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".tif", ".tiff", ".webp"}


class DamagedImage(ValueError):
    """A file that does not decode."""


def check_size(width: int, height: int) -> None:
    """See that an image of so many pixels may be decoded, or a DamagedImage."""
    if width * height > MOST_PIXELS:
        raise DamagedImage(
            f"{width:,} × {height:,} pixels are over the {MOST_PIXELS:,} that are decoded"
        )


def open_picture(data: bytes):
    """Pillow's image of a JPEG or PNG file, of which nothing but the head is read yet.

    Pillow knows some forty formats, of which one starts another program (PostScript).

    Raises:
        DamagedImage: if it is neither, damaged, or too large.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():  # of a smaller limit of its own, and of damaged metadata
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise DamagedImage("neither a JPEG nor a PNG, or damaged") from None
    except Image.DecompressionBombError as error:
        raise DamagedImage(f"too many pixels to be decoded ({error})") from error
    except Exception as error:  # of damaged chunks, as many as there are
        raise DamagedImage(str(error) or type(error).__name__) from error
    check_size(*image.size)
    return image


def decoded(image, mode: str):
    """The image in another mode, as "RGB" or "L"; DamagedImage if it does not decode to its end."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return image.convert(mode)
    except Exception as error:
        raise DamagedImage(str(error) or type(error).__name__) from error
