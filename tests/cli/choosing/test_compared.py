"""What a comparison comes to: heads that cannot be judged, the choice, the page as a file, the last lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from featurecache import FeatureCache, write
from rebalance import LinearHead, NormalizedHead
from rebalance.report import page
from rebalance_cli.choosing.compared import reports_of, say_what_next, write_page
from rebalance_cli.choosing.contest import Entry
from rebalance_cli.judging.options import Judging
from rebalance_cli.options import Common

COMMON = Common(as_json=False, seed=0, device_name="cpu")
JUDGING = Judging(
    predictions=None,
    figures=None,
    split="test",
    shots=(20, 100),
    few_includes_bound=False,
    target_prior=None,
    costs=None,
    replicates=0,
    full=False,
)


@pytest.fixture
def opened(tmp_path: Path) -> FeatureCache:
    """Three labelled rows of large numbers."""
    write(tmp_path / "x.cache", "test", 1e4 * np.eye(3, 4, dtype=np.float32), np.arange(3))
    return FeatureCache(tmp_path / "x.cache")


class TestReports:
    """Every head that can be judged."""

    def test_one_that_cannot_does_not_keep_the_others_from_it(self, opened: FeatureCache) -> None:
        wild = LinearHead(torch.full((3, 4), 3e38))  # its logits are infinite
        heads = {"fine": LinearHead(torch.eye(3, 4)), "wild": wild, "too": LinearHead(-torch.eye(3, 4))}
        reports, failed = reports_of(opened, heads, JUDGING, COMMON)
        assert (list(reports), list(failed)) == (["fine", "too"], ["wild"])
        assert (reports["fine"].balanced, reports["too"].balanced) == (1.0, 0.0)
        assert "NaN or infinity" in failed["wild"]

    def test_none_is_a_refusal(self, opened: FeatureCache) -> None:
        with pytest.raises(ValueError, match="NaN or infinity"):
            reports_of(opened, {"wild": LinearHead(torch.full((3, 4), 3e38))}, JUDGING, COMMON)

    def test_the_draws_are_the_same_for_all(self, opened: FeatureCache) -> None:
        heads = {"one": LinearHead(torch.eye(3, 4)), "wild": LinearHead(torch.full((3, 4), 3e38))}
        options = replace(JUDGING, replicates=10)
        alone, _ = reports_of(opened, {"one": heads["one"]}, options, COMMON)
        beside, _ = reports_of(opened, heads, options, COMMON)
        np.testing.assert_array_equal(alone["one"].replicates["top1"], beside["one"].replicates["top1"])


class TestPage:
    """The page is there whole, or as it was."""

    def test_it_is_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(page, "render", lambda payload, drawings: f"<p>{payload['split']} é\n")
        write_page(tmp_path / "r.html", {"split": "test"}, [])
        assert (tmp_path / "r.html").read_bytes() == "<p>test é\n".encode()
        assert [path.name for path in tmp_path.iterdir()] == ["r.html"]

    def test_what_was_there_stays_where_it_cannot_be(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(payload: Any, drawings: Any) -> str:
            raise OSError("no space")

        monkeypatch.setattr(page, "render", fail)
        (tmp_path / "r.html").write_text("before", "utf-8")
        with pytest.raises(OSError, match="no space"):
            write_page(tmp_path / "r.html", {}, [])
        assert [path.read_text("utf-8") for path in tmp_path.iterdir()] == ["before"]

    def test_of_several_processes_the_first_writes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RANK", "1")
        write_page(tmp_path / "r.html", {}, [])
        assert list(tmp_path.iterdir()) == []


class TestWhatNext:
    """How the chosen head is used."""

    @staticmethod
    def said(entry: Entry, opened: FeatureCache, capsys: pytest.CaptureFixture[str], **model: str) -> str:
        opened.plan.specification.update(model)
        files = {"report": "r\x1b.html", "figures": ["f/a.svg", "f/a.png"]}
        heads = [{"name": entry.name, "difference": None}]
        payload = {
            "chosen": entry.name,
            "chosen_on": "val",
            "split": "test",
            "goal": "balanced",
            "heads": heads,
            **files,
        }
        say_what_next(payload, [Entry("other"), entry], opened, opened.path)
        return capsys.readouterr().out

    HEAD = Entry("crt", LinearHead(torch.eye(3, 4)), Path("x.heads/crt-1.safetensors"))

    def test_a_head_of_a_run_goes_into_its_checkpoint(
        self, opened: FeatureCache, capsys: pytest.CaptureFixture[str]
    ) -> None:
        command = "to use it: rebalance export x.heads/crt-1.safetensors --into {} --out rebalanced.pt\n"
        elsewhere = f"'my joint.pt' --cache {opened.path}"
        assert self.said(self.HEAD, opened, capsys, model="run:my joint.pt").startswith(command.format(elsewhere))
        beside = opened.path.parent / "joint.pt"
        beside.touch()
        assert self.said(self.HEAD, opened, capsys, model="run:joint.pt").startswith(command.format(beside))

    @pytest.mark.parametrize("model", ["timm:resnet50", "run:\x1b[2J.pt", "file:run:x.pt", "None"])
    def test_where_no_checkpoint_is_known_its_file_is_named(
        self, model: str, opened: FeatureCache, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = self.said(self.HEAD, opened, capsys, model=model)
        assert text == "its head: x.heads/crt-1.safetensors\nfigures: f\nreport: r\ufffd.html\n"

    @pytest.mark.parametrize("model", ["run:joint.pt", "timm:resnet50"])
    def test_a_head_that_no_checkpoint_holds_becomes_a_program(
        self, model: str, opened: FeatureCache, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = opened.path.parent / "x.heads" / "ncm-1.safetensors"
        head = NormalizedHead(torch.eye(3, 4))
        text = self.said(replace(self.HEAD, head=head, file=file), opened, capsys, model=model)
        assert text.startswith(f"to use it: rebalance export {file} --module rebalanced.pt2\n")

    def test_the_joint_head_stays_where_it_is(self, opened: FeatureCache, capsys: pytest.CaptureFixture[str]) -> None:
        entry = Entry("joint", LinearHead(torch.eye(3, 4)))
        assert "leave the model as it is" in self.said(entry, opened, capsys, model="run:joint.pt")
