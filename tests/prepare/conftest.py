"""The official counts, made as small as the files of these tests."""

import pytest

from jbatch.prepare import cifar, idx, imagenet
from official_files import SIX


@pytest.fixture(autouse=True)
def small_counts(monkeypatch):
    monkeypatch.setattr(cifar, "COUNTS", dict.fromkeys(cifar.COUNTS, SIX))
    monkeypatch.setattr(idx, "FILES", {"train": ("train", SIX), "test": ("t10k", SIX)})
    monkeypatch.setattr(imagenet, "COUNTS", {"train": 4, "validation": 2})
