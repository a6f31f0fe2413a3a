"""Figures and tables for papers: every format, the page's numbers, names as text."""

import csv
import io
import re
import xml.etree.ElementTree

import pytest

from experiments.engine.errors import UsageError
from experiments.engine.page import papers, vega
from experiments.engine.page.facts import read_facts
from experiments.engine.page.sheet import Entry, Sheet, file_name, to_csv, to_latex, to_markdown
from tests.engine.page_folder import write_folder

NAME = r"a_b & 5 % <i> | [x] \n #1 {y} ~z^2"
SHEET = Sheet("cells", "50 % of | all", ["cell", "mean"], [[Entry(NAME), Entry("[0.1]", 0.1)]])
GRID = {"vary": {"rate": [0.03, 0.1], "noise": [0.0, 0.5]}, "seeds": 5, "diagnose": True}


def test_markdown_and_latex_show_names_as_they_are():
    text = to_markdown(SHEET)
    title, blank, head, rule, row = text.splitlines()
    assert (title, blank, head, rule) == (r"50 % of \| all", "", "| cell | mean |", "|---|---:|")
    assert row.count("|") - row.count(r"\|") == 3
    latex = to_latex(SHEET).splitlines()
    assert latex[1] == r"\begin{tabular}{lr}" and latex[-1] == r"\end{tabular}"
    assert latex[5] == (
        r"a\_b \& 5 \% \textless{}i\textgreater{} | {[}x] \textbackslash{}n \#1 \{y\} "
        r"\textasciitilde{}z\textasciicircum{}2 & {[}0.1] \\"
    )


def test_csv_reads_back():
    assert list(csv.reader(io.StringIO(to_csv(SHEET)))) == [["cell", "mean"], [NAME, "[0.1]"]]


def test_tables_need_no_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(vega, "is_installed", lambda: False)
    opened = write_folder(tmp_path / "study", **GRID)
    papers.check(None, "latex")
    written = papers.write_papers(opened, figures=None, tables="csv")
    assert written[0] == opened.folder / "figures" / "cells.csv"
    answer = read_facts(opened).answer
    assert answer is not None
    rows = list(csv.DictReader(io.StringIO(written[0].read_text())))
    for row, cell in zip(rows, answer.analysis.cells, strict=True):
        assert (row["rate"], row["noise"]) == cell.levels
        assert float(row["mean"]) == pytest.approx(cell.summary.mean, abs=5e-4)
    with pytest.raises(UsageError, match="charts need the extra `report`: python -m pip install"):
        papers.check("pdf", None)


@pytest.mark.slow
@pytest.mark.skipif(not vega.is_installed(), reason="needs the extra `report`")
@pytest.mark.parametrize(
    ("ending", "start"), [("svg", b"<svg"), ("pdf", b"%PDF"), ("png", b"\x89PNG")]
)
def test_figures(tmp_path, ending, start):
    opened = write_folder(tmp_path / "study", **GRID)
    written = papers.write_papers(opened, figures=ending, tables=None)
    names = {path.stem for path in written}
    assert {"effects", "interaction-1", "final", "curves-train_loss", "layers-gradient"} <= names
    assert all(path.read_bytes().startswith(start) for path in written)
    if ending == "svg":
        path = opened.folder / "figures" / "curves-train_loss.svg"
        texts = [e.text for e in xml.etree.ElementTree.parse(path).iter() if e.tag.endswith("text")]
        assert {"rate=0.03 noise=0.5", "train_loss", "epoch"} <= set(texts)
        assert "currentColor" not in path.read_text()


@pytest.mark.skipif(not vega.is_installed(), reason="needs the extra `report`")
def test_a_curve_of_one_evaluation_is_a_point(tmp_path):
    for epochs, points in ((1, 4), (3, 0)):
        opened = write_folder(tmp_path / str(epochs), **{**GRID, "epochs": epochs})
        papers.write_papers(opened, figures="svg", tables=None)
        drawn = (opened.folder / "figures" / "curves-train_loss.svg").read_text()
        shown = re.findall(r'aria-roledescription="point"[^>]* opacity="1"', drawn)
        assert len(shown) == points


def test_tables_of_exploratory_metrics_have_their_names(tmp_path):
    opened = write_folder(tmp_path / "study", **GRID)
    names = {path.name for path in papers.write_papers(opened, figures=None, tables="csv")}
    assert {"exploratory-1-size.csv", "exploratory-2-train_error.csv"} <= names


def test_the_name_of_any_metric_names_a_file():
    assert file_name("curves-train_kl/layer 1") == "curves-train_kl_layer_1"
    assert file_name("curves-validation_accuracy") == "curves-validation_accuracy"
