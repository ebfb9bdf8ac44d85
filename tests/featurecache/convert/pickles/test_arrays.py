"""Arrays as pickles describe them."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from featurecache.convert.pickles.arrays import Name, Type, Unfinished, called, told
from featurecache.convert.pickles.machine import unpickled

KINDS = st.sampled_from(["<f2", ">f4", "<f8", "|i1", ">i8", "<u2", "|b1", "<U3", "|S4"])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, max_side=4)


@given(values=KINDS.flatmap(lambda kind: hnp.arrays(kind, SHAPES)), protocol=st.integers(2, 5), fortran=st.booleans())
def test_arrays_are_what_numpy_reads(values: Any, protocol: int, fortran: bool) -> None:
    if values.dtype.kind in "US":
        values[...] = "ab"
    values = np.asfortranarray(values) if fortran else values
    found = unpickled(memoryview(pickle.dumps({"x": values, "y": [values]}, protocol)))
    for each in (found["x"], found["y"][0]):
        assert (each.dtype, each.shape) == (values.dtype, values.shape)
        assert each.tobytes() == values.tobytes()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_scalars_empty_arrays_and_texts(protocol: int) -> None:
    value = {
        "n": np.int64(3),
        "f": np.float32(0.5),
        "s": np.str_("ab"),
        "e": np.zeros((0, 7)),
        "o": np.array(["a", "bc"], object),
    }
    found = unpickled(memoryview(pickle.dumps(value, protocol)))
    assert [found[name] for name in "nfso"] == [3, 0.5, "ab", ["a", "bc"]]
    assert found["e"].size == 0


def test_pickles_of_python_2() -> None:
    data = (
        b"\x80\x02}q\x00U\x05featsq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85"
        b"U\x01b\x87Rq\x04(K\x01K\x02K\x01\x86cnumpy\ndtype\nq\x05U\x02f4K\x00K\x01\x87Rq\x06(K\x03U\x01<NNNJ\xff\xff"
        b"\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08" + np.array([1.5, 2.5], "<f4").tobytes() + b"tbs."
    )
    np.testing.assert_array_equal(unpickled(memoryview(data))["feats"], [[1.5], [2.5]])


class TestRefused:
    """States that would make a real array read memory it does not own."""

    @pytest.mark.parametrize(
        "state",
        [
            (1, (3,), Type("f4"), False, b"1234"),
            (1, (-1,), Type("f4"), False, b""),
            (1, (2**70,), Type("f4"), False, b"1234"),
            (1, (1.0,), Type("f4"), False, b"1234"),
            (1, (1,) * 40, Type("f4"), False, b"1234"),
            (1, (1,), Type("O8"), False, b"12345678"),
            (1, (1,), Type("O8"), False, [{}]),
            (1, (2,), Type("O8"), False, ["a"]),
            (1, (1,), Type("V4"), False, b"1234"),
            (1, (1,), Type("f4,f4"), False, b"12345678"),
        ],
        ids=str,
    )
    def test_arrays(self, state: tuple[Any, ...], refused: Any) -> None:
        with refused():
            told(Unfinished(), state)

    @pytest.mark.parametrize(
        ("thing", "state"), [(Unfinished(), ()), (Type("f4"), (3, "<", None, ("x",), {}, 4, 1, 0)), ({}, (1,))]
    )
    def test_states_of_another_form(self, thing: Any, state: tuple[Any, ...]) -> None:
        with pytest.raises(TypeError):
            told(thing, state)

    @pytest.mark.parametrize(
        ("name", "given_"),
        [
            ("array", (Name("dtype"), (0,), b"b")),
            ("array", (Name("ndarray"), (10**12,), b"b")),
            ("ndarray", ((3,),)),
            ("dtype", ([("x", "f4")],)),
            ("scalar", (Type("f4"), "text")),
            ("encode", ("text", "rot13")),
            ("buffer", (b"1234", Type("f4"), (1,), "K", (0,))),
        ],
    )
    def test_calls_of_another_form(self, name: str, given_: tuple[Any, ...]) -> None:
        with pytest.raises(TypeError):
            called(Name(name), given_)
