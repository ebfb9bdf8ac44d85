"""What heads are judged by, as options: what arrives, and what is refused before any work."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from rebalance import Shots
from rebalance_cli.judging.options import Judging, judging_options

PLAIN = Judging(None, None, "test", (20, 100), False, None, None, 1000, False)


@click.command()
@judging_options
def _echo(judging: Judging) -> None:
    click.echo(repr(judging))


def test_defaults() -> None:
    assert CliRunner().invoke(_echo, []).output == f"{PLAIN!r}\n"


def test_all_given(tmp_path: Path) -> None:
    (tmp_path / "costs.csv").touch()
    words = [
        *("--split", "val", "--shots", "5,9", "--few-includes-bound", "--target-prior", "backward:50", "--full"),
        *("--costs", str(tmp_path / "costs.csv"), "--replicates", "0"),
        *("--predictions", str(tmp_path / "p.csv"), "--figures", str(tmp_path / "figures")),
    ]
    expected = Judging(
        tmp_path / "p.csv", tmp_path / "figures", "val", (5, 9), True, "backward:50", tmp_path / "costs.csv", 0, True
    )
    assert CliRunner().invoke(_echo, words).output == f"{expected!r}\n"


@pytest.mark.parametrize("value", ["-1", "1.5", "many"])
def test_replicates_are_counted(value: str) -> None:
    assert CliRunner().invoke(_echo, ["--replicates", value]).exit_code == 2


def test_the_groups() -> None:
    assert replace(PLAIN, shots=(5, 9)).groups == Shots(5, 9)
    assert replace(PLAIN, few_includes_bound=True).groups == Shots(20, 100, closed=True)


class TestRefused:
    """Files that could not be written, or are not there."""

    @pytest.mark.parametrize("name", ["rows.txt", "rows", "nowhere/rows.csv", "folder.csv"])
    def test_predictions(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "folder.csv").mkdir()
        with pytest.raises(ValueError, match=r"--predictions .*expected a .csv or .parquet file in a folder"):
            replace(PLAIN, predictions=tmp_path / name)

    def test_parquet_without_pyarrow(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(ImportError, match=r"pip install 'featurecache-rebalance\[parquet\]', or name a .csv"):
            replace(PLAIN, predictions=tmp_path / "rows.PARQUET")
        assert replace(PLAIN, predictions=tmp_path / "rows.CSV").predictions == tmp_path / "rows.CSV"

    @pytest.mark.parametrize("name", ["file", "nowhere/figures"])
    def test_figures(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(ValueError, match=r"--figures .*expected a folder, or a new name"):
            replace(PLAIN, figures=tmp_path / name)

    def test_a_folder_of_figures_that_is_there_is_fine(self, tmp_path: Path) -> None:
        assert replace(PLAIN, figures=tmp_path).figures == tmp_path

    def test_costs(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"--costs .*no file; expected a .csv of K x K numbers"):
            replace(PLAIN, costs=tmp_path / "nowhere.csv")

    def test_cones(self) -> None:
        with pytest.raises(ValueError, match="--cones 1,2: expected three different classes"):
            replace(PLAIN, cones="1,2")

    def test_a_target_prior(self) -> None:
        with pytest.raises(ValueError, match="--target-prior nosuch: no such file"):
            replace(PLAIN, target_prior="nosuch")


def test_a_refusal_comes_before_the_cache_is_looked_at(tmp_path: Path, refused: Callable[..., str]) -> None:
    nowhere = ("evaluate", tmp_path / "nowhere.cache")
    refused(*nowhere, "--predictions", tmp_path / "p.txt", holds=("p.txt", ".csv or .parquet"))
    refused(*nowhere, "--figures", tmp_path / "no" / "figures", holds=("--figures",))
    refused(*nowhere, "--target-prior", "forward:0", holds=("forward:RATIO",))
