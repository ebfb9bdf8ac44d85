"""A classifier as data."""

from __future__ import annotations

import torch

from featurecache.classifying.terms import Classifier, Term


def test_a_classifier_without_terms_is_one_plain_layer() -> None:
    classifier = Classifier("fc", torch.ones(5, 8), torch.zeros(5))
    assert classifier.terms == ()
    assert classifier.layers == (Term("fc", 8, 1.0, False),)


def test_terms_that_are_there_are_the_layers() -> None:
    terms = (Term("a", 3, 0.5), Term("b", 5, 0.5, True))
    assert Classifier("a+b", torch.ones(5, 8), torch.zeros(5), terms).layers == terms
