"""What samplers, classifiers and arms are called in tables, figures and sentences."""

from __future__ import annotations

CALLED = {
    "joint": "joint",
    "ncm": "NCM",
    "crt": "cRT",
    "tau_norm": "τ-normalised",
    "lws": "LWS",
    "instance": "instance-balanced",
    "class": "class-balanced",
    "sqrt": "square-root",
    "progressive": "progressively-balanced",
    "classifier": "classifier only",
    "last-block": "last block too",
    "trunk": "whole trunk too",
}
