"""In which shares the classes are supposed to come: words, files, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featurecache import FeatureCache, write
from rebalance.prior import shifted_prior
from rebalance_cli.judging.target_prior import check_target_prior, read_target_prior

COUNTS = np.array([60, 30, 10])
NAMES = ["eel", "dog", "cat, small"]

Read = Callable[[str], list[float]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    """Three named classes."""
    path = tmp_path_factory.mktemp("prior") / "x.cache"
    write(path, "test", np.eye(3, dtype=np.float32), np.arange(3), class_names=NAMES)
    return FeatureCache(path)


@pytest.fixture
def read(cache: FeatureCache, tmp_path: Path) -> Read:
    """The shares that a file of this text stands for."""

    def shares(text: str) -> list[float]:
        (tmp_path / "p.csv").write_text(text, "utf-8")
        return read_target_prior(str(tmp_path / "p.csv"), cache, None).tolist()

    return shares


def test_words(cache: FeatureCache) -> None:
    assert read_target_prior("uniform", cache, None).tolist() == [1 / 3] * 3
    assert read_target_prior("train", cache, COUNTS).tolist() == [0.6, 0.3, 0.1]


@pytest.mark.parametrize("word", ["forward", "backward"])
def test_shifted_tails_are_the_library_s(word: str, cache: FeatureCache) -> None:
    expected = shifted_prior(COUNTS, 50.0, backward=word == "backward")
    assert torch.equal(torch.from_numpy(read_target_prior(f"{word}:50", cache, COUNTS)), expected)


@pytest.mark.parametrize(
    "text",
    [
        "0.5 0.3 0.2",
        "0.5\n0.3\n0.2\n",
        "\ufeff0.5\r\n0.3\r\n\r\n0.2",
        "0.5,0.3,0.2\n",
        "share\n0.5\n0.3\n0.2\n",
        'class,share\neel,0.5\ndog,0.3\n"cat, small",0.2\n',
        '"cat, small",0.2\ndog , 0.3\neel,0.5\n',
        "2,0.2\n0,0.5\n1,0.3\n",
    ],
    ids=["line", "lines", "windows", "commas", "titled", "names", "other order", "ids"],
)
def test_files(text: str, read: Read) -> None:
    assert read(text) == pytest.approx([0.5, 0.3, 0.2])


@given(st.permutations(range(3)), st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_lines_of_class_and_share_come_in_any_order(
    cache: FeatureCache, tmp_path_factory: pytest.TempPathFactory, order: list[int], values: list[float]
) -> None:
    shares = np.array(values) / sum(values)
    path = tmp_path_factory.mktemp("any") / "p.csv"
    path.write_text("".join(f'"{NAMES[k]}",{shares[k]:.17g}\n' for k in order), "utf-8")
    assert read_target_prior(str(path), cache, None).tolist() == pytest.approx(shares.tolist())


def test_names_that_are_numbers_are_names(tmp_path: Path) -> None:
    write(tmp_path / "x.cache", "test", np.eye(3, dtype=np.float32), np.arange(3), class_names=["2", "1", "0"])
    (tmp_path / "p.csv").write_text("0,0.5\n1,0.3\n2,0.2\n", "utf-8")
    shares = read_target_prior(str(tmp_path / "p.csv"), FeatureCache(tmp_path / "x.cache"), None)
    assert shares.tolist() == pytest.approx([0.2, 0.3, 0.5])


def test_rounded_shares_are_taken_and_sum_to_one(read: Read) -> None:
    assert sum(read("0.3333 0.3333 0.3333")) == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0.5 0.3 0.1", "the shares sum to 0.9; expected 1: divide each by 0.9"),
        ("60 30 10", "the shares sum to 100; expected 1: divide each by 100"),
        ("0.5 0.7 -0.2", "that of class 2 is -0.2; expected 0 or more"),
        ("0.5 0.5 nan", "that of class 2 is nan"),
        ("1 inf 0", "that of class 1 is inf"),
        ("0 0 0", "are all 0"),
        ("0.5 0.5", "2 numbers; expected 3 shares"),
        ("0.4,0.3,0.2,0.1", "4 numbers; expected 3 shares"),
        ("", "0 numbers; expected 3 shares"),
        ("0.5 half 0.2", "'half' is not a number"),
        ("share\nhalf\n0.3\n0.2\n", "'half' is not a number"),
        ("eel,0.5\ndog,0.5\n", "class 'cat, small' (2) is missing (1 of 3)"),
        ("eel,0.5\neel,0.3\ndog,0.2\n", "class 'eel' is there twice"),
        ("eel,0.5\nowl,0.3\ndog,0.2\n", "no class is called 'owl'"),
        ("eel,half\ndog,0.3\n2,0.2\n", "'half' is not a number; expected the share of class 'eel'"),
        ("a,b,c\nd,e,f\n", "several columns"),
    ],
)
def test_other_files_are_refused(text: str, says: str, read: Read) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as refusal:
        read(text)
    assert str(refusal.value).startswith("--target-prior ")
    assert "\n" not in str(refusal.value)


def test_bytes_are_no_text(cache: FeatureCache, tmp_path: Path) -> None:
    (tmp_path / "p.npy").write_bytes(b"\x93NUMPY\xff\xfe")
    with pytest.raises(ValueError, match=r"p\.npy: not a text file; expected 3 numbers"):
        read_target_prior(str(tmp_path / "p.npy"), cache, None)


@pytest.mark.parametrize("word", ["train", "forward:50", "backward:2"])
@pytest.mark.parametrize("counts", [None, np.zeros(3, dtype=np.int64)])
def test_words_that_need_training_counts(
    word: str, counts: np.ndarray[tuple[int], np.dtype[np.int64]] | None, cache: FeatureCache
) -> None:
    with pytest.raises(ValueError, match=f"--target-prior {word}: .* has no training rows .*give a file"):
        read_target_prior(word, cache, counts)


@pytest.mark.parametrize(
    "value", ["forward:0.5", "forward:", "backward:x", "forward:nan", "forward:inf", "backward:-2"]
)
def test_a_ratio_is_a_number_from_1(value: str) -> None:
    with pytest.raises(ValueError, match=r"RATIO, a number from 1, such as (forward|backward):50"):
        check_target_prior(value)


@pytest.mark.parametrize("value", ["nosuch", "Uniform", "uniform:2", "forward", "\x1b[31mred"])
def test_neither_a_word_nor_a_file(value: str) -> None:
    with pytest.raises(ValueError, match="no such file; expected uniform, train, forward:50") as refusal:
        check_target_prior(value)
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("value", ["uniform", "train", "forward:1", "backward:2.5"])
def test_good_words(value: str) -> None:
    check_target_prior(value)
