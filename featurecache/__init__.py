"""Cache the features and logits of a trained classifier, once, in plain HDF5 shards."""

from __future__ import annotations

from featurecache.arrays import write
from featurecache.classifier import find_classifier
from featurecache.export import export_onnx, export_program
from featurecache.extract import extract
from featurecache.reader import FeatureCache
from featurecache.reading.split import Split
from featurecache.replacement import replace_classifier

__all__ = [
    "FeatureCache",
    "Split",
    "export_onnx",
    "export_program",
    "extract",
    "find_classifier",
    "replace_classifier",
    "write",
]
