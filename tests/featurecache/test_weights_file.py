"""Weights from files that strangers made."""

from __future__ import annotations

import argparse
import os
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from featurecache.weights_file import read_weights
from featurecache.weights_layouts import PLAIN


def good() -> OrderedDict[str, Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(norm=nn.BatchNorm1d(4), fc=nn.Linear(4, 3))).state_dict()


def refused(path: Path) -> str:
    """The one line with which the file is refused."""
    with pytest.raises(ValueError, match=r"^checkpoint '.*': ") as caught:
        read_weights(path)
    said = str(caught.value)
    assert "\n" not in said
    assert "weights_only" not in said
    assert len(said) < 500
    return said


def saved(path: Path, value: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the tensor kinds that these tests are about
        torch.save(value, path)
    return path


def rezipped(source: Path, path: Path, change: Callable[[zipfile.ZipFile, zipfile.ZipInfo, bytes], None]) -> Path:
    """The archive with every member written again by `change`."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.infolist():
            change(new, member, old.read(member))
    return path


@pytest.mark.parametrize("kind", ["zip", "legacy", *PLAIN, "safetensors"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_layouts(tmp_path: Path, kind: str, prefix: str) -> None:
    state = good()
    stored = OrderedDict((prefix + name, value) for name, value in state.items())
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(dict(stored), path)
    elif kind == "legacy":
        torch.save(stored, path, _use_new_zipfile_serialization=False)
    else:
        torch.save(stored if kind == "zip" else {"epoch": 3, kind: stored, "note": "x"}, path)
    file = read_weights(path)
    assert [part.prefix for part in file.parts] == [prefix]
    read = file.state()
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], value) and read[name].dtype == value.dtype for name, value in state.items())
    if kind != "safetensors":
        assert list(read) == list(state)


def test_the_versions_of_modules_are_kept_and_lose_the_prefix_too(tmp_path: Path) -> None:
    model = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3))
    plain = read_weights(saved(tmp_path / "plain.pt", model.state_dict())).state()
    wrapped = read_weights(saved(tmp_path / "wrapped.pt", nn.DataParallel(model).state_dict())).state()
    for state in (plain, wrapped):
        assert vars(state)["_metadata"] == model.state_dict()._metadata
    nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)).load_state_dict(wrapped)


def test_one_name_without_the_prefix_keeps_it_on_the_others(tmp_path: Path) -> None:
    state = {"module.fc.weight": torch.ones(2, 2), "scale": torch.ones(1)}
    file = read_weights(saved(tmp_path / "w.pt", state))
    assert [part.prefix for part in file.parts] == [""]
    assert list(file.state()) == list(state)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int8, torch.bool, torch.uint16]
)
def test_dtypes(tmp_path: Path, dtype: torch.dtype) -> None:
    value = torch.ones(3).to(dtype)
    for name in ("w.pt", "w.safetensors"):
        path = tmp_path / name
        if path.suffix == ".pt":
            torch.save({"a": value}, path)
        else:
            save_file({"a": value}, path)
        assert read_weights(path).state()["a"].dtype == dtype


def test_honest_views_and_parameters_are_read(tmp_path: Path) -> None:
    conv = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    whole = torch.randn(10, 4)
    state = {"conv": conv, "part": whole[2:5], "turned": whole.t(), "p": nn.Parameter(whole), "none": torch.ones(0, 3)}
    read = read_weights(saved(tmp_path / "w.pt", state)).state()
    assert all(torch.equal(read[name], value) for name, value in state.items())


class Payload:
    """Makes a file where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "nested"])
def test_a_pickle_that_runs_something_is_refused_and_nothing_runs(tmp_path: Path, form: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / "w.pt"
    state = {"fc.weight": torch.ones(2, 2), "bad": Payload(marker)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(state["bad"], protocol=2))
    elif form == "legacy":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        torch.save({"state_dict": state} if form == "nested" else state, path)
    assert "its pickle asks for 'posix.system'" in refused(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Path("data"), "pathlib"),
        (np.random.default_rng(0), "numpy.random"),
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ],
)
def test_objects_that_training_files_do_not_need_are_refused_by_name(tmp_path: Path, value: Any, name: str) -> None:
    said = refused(saved(tmp_path / "w.pt", {"state_dict": good(), "args": value}))
    assert name in said
    assert "save the state dict alone" in said


def test_a_training_file_is_read_beside_its_options_and_figures(tmp_path: Path) -> None:
    options = argparse.Namespace(lr=0.1, data="/data", nested={"sizes": (1, 2)})
    figures = {"best": np.float64(0.5), "curve": np.arange(6.0).reshape(2, 3), "names": np.array(["a", "b"])}
    root = {"model": good(), "args": options, "optimizer": {"state": {0: {"step": torch.ones(1)}}}, **figures}
    for legacy in (False, True):
        torch.save(root, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
        assert list(read_weights(tmp_path / "w.pt").state()) == list(good())
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "w.pt", weights_only=True)  # the permission is not left behind


def test_an_options_object_in_a_state_dict_is_refused(tmp_path: Path) -> None:
    said = refused(saved(tmp_path / "w.pt", {"state_dict": {**good(), "args": argparse.Namespace()}}))
    assert "entry 'args' is a Namespace, expected a tensor" in said


def test_the_counter_beside_averaged_weights_is_not_the_models(tmp_path: Path) -> None:
    model = nn.Sequential(OrderedDict(norm=nn.BatchNorm1d(4), fc=nn.Linear(4, 3)))
    averaged = torch.optim.swa_utils.AveragedModel(model, use_buffers=True)
    path = saved(tmp_path / "w.pt", {"model": model.state_dict(), "model_ema": averaged.state_dict()})
    for ema in (False, True):
        assert list(read_weights(path, ema=ema).state()) == list(model.state_dict())


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "w.pt")
    assert "TorchScript" in refused(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (lambda: torch.ones(1).expand(10**9), r"(1000000000,) is larger than the bytes stored"),
        (lambda: torch.eye(3).to_sparse(), "sparse_coo"),
        (lambda: torch.eye(3).to_sparse_csr(), "sparse_csr"),
        (lambda: torch.tensor([1.0, torch.nan]), "values that are not finite"),
        (lambda: torch.tensor([torch.inf]), "values that are not finite"),
        (lambda: torch.tensor([torch.nan]).to(torch.float8_e4m3fn), "values that are not finite"),
        (lambda: torch.empty(3, device="meta"), "has no values (device meta)"),
        (lambda: torch.ones(3, dtype=torch.complex64), "complex64"),
        (lambda: "text", "is a str, expected a tensor"),
        (lambda: {"deeper": torch.ones(2)}, "is a dict, expected a tensor"),
    ],
    ids=["stride 0", "coo", "csr", "nan", "inf", "float8 nan", "meta", "complex", "text", "dict"],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
def test_entries_that_are_no_dense_finite_tensors_are_refused(
    tmp_path: Path, value: Callable[[], Any], reason: str
) -> None:
    said = refused(saved(tmp_path / "w.pt", {"fine": torch.ones(2), "head\n.weight": value()}))
    assert reason in said
    assert r"'head\n.weight'" in said


@pytest.mark.filterwarnings("ignore:.*quantiz.*:DeprecationWarning", "ignore:.*quantiz.*:UserWarning")
def test_quantized_tensors_are_refused(tmp_path: Path) -> None:
    value = torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8)
    assert "is quantized" in refused(saved(tmp_path / "w.pt", {"a": value}))


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        ([torch.ones(2)], "holds a list"),
        (torch.ones(2), "holds a Tensor"),
        ({}, "holds no tensors"),
        ({"state_dict": {}}, "holds no tensors"),
        ({"state_dict": {"a": torch.ones(1)}, "model": {"a": torch.ones(1)}}, "holds 2 state dicts"),
        ({3: torch.ones(2)}, "a key of type int"),
        ({"epoch": 3, "weights": {"a": torch.ones(1)}}, "'epoch' is a int, expected a tensor"),
    ],
)
def test_files_without_a_state_dict_are_refused(tmp_path: Path, root: Any, reason: str) -> None:
    assert reason in refused(saved(tmp_path / "w.pt", root))


@pytest.mark.parametrize("attributes", [{"items": 3}, {"_metadata": 3}, {"_metadata": {"": 3}}, {"_metadata": {3: {}}}])
def test_state_dicts_with_strange_attributes_are_refused(tmp_path: Path, attributes: dict[str, Any]) -> None:
    class Attributed(OrderedDict[str, Tensor]):
        """Pickles as an OrderedDict with these attributes."""

        def __reduce__(self) -> Any:
            return OrderedDict, (), attributes, None, iter(dict.items(self))

    for root in (Attributed(good()), {"state_dict": Attributed(good())}):
        assert "attributes" in refused(saved(tmp_path / "w.pt", root))


def test_a_compressed_archive_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    plain = saved(tmp_path / "plain.pt", {"a": torch.zeros(100_000)})

    def deflate(archive: zipfile.ZipFile, member: zipfile.ZipInfo, data: bytes) -> None:
        archive.writestr(member.filename, data, zipfile.ZIP_DEFLATED)

    bomb = rezipped(plain, tmp_path / "bomb.pt", deflate)
    assert bomb.stat().st_size < 10_000
    assert "is compressed" in refused(bomb)


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "a//b", "c:\\windows"])
def test_archive_members_with_paths_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / "w.pt", good())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    assert "expected plain names" in refused(path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", good())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(archive.namelist()[0], b"x")
    assert "two members of one name" in refused(path)


def test_an_archive_that_claims_more_than_the_file_has_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", {"a": torch.zeros(64)})
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        size = next(member.file_size for member in archive.infolist() if member.file_size == 256)
    entry = data.index(b"PK\x01\x02")
    while struct.unpack_from("<I", data, entry + 24)[0] != size:
        entry = data.index(b"PK\x01\x02", entry + 4)
    struct.pack_into("<II", data, entry + 20, 10**9, 10**9)
    path.write_bytes(data)
    assert "claims more bytes" in refused(path)


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_files_that_are_something_else_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    for data in (b"", b"hello world\n" * 20, b"<html></html>", b"\x80", b"PK\x03\x04" + bytes(100), os.urandom(500)):
        path.write_bytes(data)
        refused(path)


def test_missing_files_folders_and_pipes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"checkpoint '.*missing.pt' does not exist"):
        read_weights(tmp_path / "missing.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    for path in (tmp_path, tmp_path / "pipe.pt"):
        with pytest.raises(ValueError, match="is not a regular file"):
            read_weights(path)
