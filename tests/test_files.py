import errno
from pathlib import Path

import pytest

from jbatch.files import read_whole

STATUS = Path("/proc/self/status")  # the kernel says that its size is 0


def test_a_file_is_read_up_to_a_limit(tmp_path):
    path = tmp_path / "ten"
    path.write_bytes(b"0123456789")
    assert read_whole(path) == read_whole(path, most=10) == b"0123456789"
    with pytest.raises(OSError, match="Over 9 bytes") as caught:
        read_whole(path, most=9)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))


@pytest.mark.skipif(not STATUS.exists(), reason="needs Linux")
def test_a_file_that_hides_its_size_is_read_up_to_the_limit_too():
    assert read_whole(STATUS).startswith(b"Name:")
    with pytest.raises(OSError, match="Over 10 bytes"):
        read_whole(STATUS, most=10)
