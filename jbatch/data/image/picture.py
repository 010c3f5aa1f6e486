"""Opening images of unknown origin safely: only JPEG and PNG, and only up to a size limit."""

import io
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG")  # JPEG includes MPO, several images in a phone's file
MOST_PIXELS = 1 << 27  # of an image, 134 million: half a gigabyte decoded
SUFFIXES = {".jpeg", ".jpg", ".jpe", ".jfif", ".png"}
OTHER_IMAGES = {".avif", ".bmp", ".gif", ".heic", ".heif", ".jp2", ".jxl", ".tif", ".tiff", ".webp"}


class DamagedImage(ValueError):
    """A file that does not decode."""


def check_size(width: int, height: int) -> None:
    """Check an image's size before it is decoded.

    Raises:
        DamagedImage: if it has over MOST_PIXELS pixels.
    """
    if width * height > MOST_PIXELS:
        raise DamagedImage(f"{width:,} × {height:,} pixels are over the limit of {MOST_PIXELS:,}")


def open_picture(data: bytes) -> "Image.Image":
    """Open a JPEG or PNG file as Pillow's image, reading only its head.

    Other formats are refused: Pillow knows about forty, and one of them (PostScript) starts another
    program.

    Raises:
        DamagedImage: if the file is no JPEG or PNG, is damaged, or has too many pixels.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():  # about Pillow's own, smaller limit and damaged metadata
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise DamagedImage("neither a JPEG nor a PNG, or damaged") from None
    except Image.DecompressionBombError as error:
        raise DamagedImage(f"too many pixels to decode ({error})") from error
    except Exception as error:  # damaged chunks can raise anything
        raise DamagedImage(str(error) or type(error).__name__) from error
    check_size(*image.size)
    return image


def decoded(image: "Image.Image", mode: str) -> "Image.Image":
    """Decode an image and convert it to a mode such as "RGB" or "L".

    Raises:
        DamagedImage: if it does not decode to its end.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return image.convert(mode)
    except Exception as error:
        raise DamagedImage(str(error) or type(error).__name__) from error
