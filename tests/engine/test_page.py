"""The page of a study folder: honest in every state, escaped, self-contained, and true."""

import base64
import csv
import dataclasses
import html.parser
import json
import math
from urllib.parse import quote

import numpy as np
import pytest

from experiments import Entry
from experiments.engine import cli
from experiments.engine.jobs import tuning_jobs
from experiments.engine.log import Log, read_lines
from experiments.engine.page import page as page_module
from experiments.engine.page import papers, told
from experiments.engine.page.facts import read_facts
from experiments.engine.page.vega import is_installed
from experiments.engine.pictures import files, picture_of, write
from experiments.engine.reopen import reopen
from experiments.engine.sealed import write_json
from experiments.engine.study import Part
from tests.engine.page_folder import HOSTILE, evaluation, unequal_folder, write_folder
from tests.engine.toy import TOY

if not is_installed():
    pytest.skip("needs the extra `report`", allow_module_level=True)

GRID = {"vary": {"rate": [0.03, 0.1], "noise": [0.0, 0.5]}, "seeds": 5}
VOID = ("meta", "img", "input", "br")


class Page(html.parser.HTMLParser):
    """Elements as they are opened and closed, and the text of each."""

    def __init__(self, source):
        super().__init__()
        self.open, self.elements, self.texts = [], [], {}
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop()[0] == tag, (tag, self.getpos())

    def handle_data(self, data):
        for tag, attributes in self.open:
            self.texts[tag] = self.texts.get(tag, "") + data
            if "id" in attributes:
                self.texts[f"#{attributes['id']}"] = (
                    self.texts.get(f"#{attributes['id']}", "") + data
                )

    @property
    def data(self):
        return json.loads(self.texts["#data"])

    @property
    def shown(self):
        """What a reader can read, scripts and styles left out."""
        return self.texts["header"] + self.texts["main"]


def page_of(opened):
    line = told.page_line(opened)
    path = opened.folder / "report.html"
    assert line == f"page: {path}"
    return Page(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page") / "whole"
    opened = write_folder(folder, **GRID, diagnose=True, question="What does the rate do?")
    write(folder / "pictures" / "cell_1", files({"filters": picture_of(np.eye(4))}))
    return opened, page_of(opened)


def test_it_is_sound_html_that_loads_nothing(whole):
    opened, page = whole
    assert not page.open
    names = [attributes.get("id") for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "base", "object")
        assert attributes.get("src", "data:").startswith("data:image/png;base64,") or tag != "img"
        assert tag != "script" or "src" not in attributes
        assert attributes.get("href", "#").startswith("#")
    policy = next(a["content"] for t, a in page.elements if "http-equiv" in a)
    assert policy.startswith("default-src 'none'") and "http" not in policy
    style = page.texts["style"]
    assert "url(" not in style and "@import" not in style
    source = (opened.folder / "report.html").read_text("utf-8")
    assert source.count("<script") == 3 + page.texts["script"].count("<script")


def test_it_says_what_the_terminal_says(whole):
    opened, page = whole
    assert page.texts["h1"] == "What does the rate do?"
    answer = read_facts(opened).answer
    assert answer is not None and page.texts["pre"] == answer.text
    assert "finished" in page.texts["#answer"] + page.shown
    for contrast in answer.analysis.contrasts:
        assert f"{contrast.factor} {contrast.level} - {contrast.reference}" in page.shown
        assert contrast.verdict in page.texts["#table-contrasts"]
    for part in ("results", "problems", "effects", "curves", "layers", "pictures", "provenance"):
        assert f"#{part}" in page.texts, part
    assert "#tuning" not in page.texts
    assert "python toy.py reproduce" in page.texts["#provenance"]
    assert "Nothing diverged, nothing is missing." in page.shown


def test_its_numbers_are_those_of_the_folder(whole):
    opened, page = whole
    with (opened.folder / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    final = [row for row in page.data["charts"]["final"]["rows"] if row["kind"] == "replica"]
    assert [row["value"] for row in final] == [float(row["test_error"]) for row in rows]
    assert [row["seed"] for row in final] == [int(row["seed"]) for row in rows]
    replicas = page.data["replicas"]
    for mine, row in zip(replicas, rows, strict=True):
        for name, value in mine.items():
            assert str(value) == row[name], name
    saved = json.loads((opened.folder / "analysis.json").read_text())
    means = [row for row in page.data["charts"]["final"]["rows"] if row["kind"] == "mean"]
    assert [row["mean"] for row in means] == [cell["summary"]["mean"] for cell in saved["cells"]]
    effects = page.data["charts"]["effects"]["rows"]
    for row, contrast in zip(effects, saved["contrasts"], strict=True):
        assert [row["low"], row["high"]] == contrast["interval"]
    image = next(a["src"] for tag, a in page.elements if tag == "img")
    picture = opened.folder / "pictures" / "cell_1" / "filters.png"
    assert base64.b64decode(image.partition(",")[2]) == picture.read_bytes()


def test_curves_are_means_with_t_intervals(whole):
    _, page = whole
    curve = page.data["curves"]["validation_error"][2]
    values = np.array(list(curve["seeds"].values()))
    assert values.shape == (5, 3) and curve["x"] == [1, 2, 3] and curve["n"] == [5] * 3
    np.testing.assert_allclose(curve["mean"], values.mean(axis=0), rtol=1e-4)
    half = 2.7764 * values.std(axis=0, ddof=1) / math.sqrt(5)
    np.testing.assert_allclose(np.subtract(curve["high"], curve["mean"]), half, rtol=2e-3)
    assert set(page.data["curves"]) == {"train_loss", "validation_error", "validation_size"}
    gradients = [r for r in page.data["diagnoses"] if r["quantity"] == "gradient"]
    assert [r["value"] for r in gradients[:3]] == [0.05, 0.033333, 0.025]


def test_a_replica_that_ended_early_stays_as_it_was(tmp_path):
    page = page_of(unequal_folder(tmp_path / "study"))
    first, second = page.data["curves"]["validation_error"]
    assert (first["x"], first["n"]) == ([1, 2, 3], [2, 2, 2])
    assert (second["x"], second["n"]) == ([1, 2], [2, 2])
    long, short = (second["seeds"][seed] for seed in ("0", "1"))
    assert short[0] == short[1] and long[0] != long[1]
    np.testing.assert_allclose(second["mean"], np.mean([long, short], axis=0), rtol=1e-4)
    found = {
        (row["cell"], row["epoch"]): row["value"]
        for row in page.data["diagnoses"]
        if row["quantity"] == "gradient" and row["layer"] == "layer_1"
    }
    assert set(found) == {(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)}
    assert found[1, 2] == pytest.approx((0.1 / 2 + 0.1 / 3) / 2, rel=1e-4)
    assert "ran out of patience keeps its last values" in page.texts["#curves"]


def test_a_figure_of_layers_shows_each_cell_as_it_ended(tmp_path):
    specs = papers.specs(read_facts(unequal_folder(tmp_path / "study")))
    rows = specs["layers-gradient"]["datasets"]["rows"]
    values = {row["series"]: row["mean"] for row in rows if row["x"] == "layer_1"}
    assert values == {
        "epochs=3": pytest.approx(0.1 / 4, rel=1e-4),
        "epochs=2": pytest.approx((0.1 / 2 + 0.1 / 3) / 2, rel=1e-4),
    }


@pytest.mark.parametrize("per_seed", [False, True])
def test_the_tuning_chart_is_the_mean_over_the_seeds_that_tune(train_toy, per_seed):
    grid = {"vary": {"noise": [0.0, 0.5]}, "tune": {"rate": [0.1, 0.003, 0.03]}, "seeds": 3}
    out = train_toy(**grid, tune_seeds=2, tune_per_seed=per_seed)
    page = page_of(reopen({"toy": Entry(TOY.summary, lambda: TOY)}, out.folder))
    with (out.folder / "tuning.csv").open(newline="") as stream:
        scores = list(csv.DictReader(stream))
    chart = page.data["charts"]["tuning-1"]
    assert len(chart["rows"]) == 2 * 3
    for row in chart["rows"]:
        cell = page.data["labels"].index(row["series"])
        mine = [
            float(each["validation_error"]) for each in scores
            if (int(each["cell"]), each["rate"]) == (cell, row["x"])
        ]  # fmt: skip
        assert len(mine) == (3 if per_seed else 2)
        assert row["mean"] == pytest.approx(np.mean(mine), rel=1e-4)
    chosen = {(row["series"], row["x"]) for row in chart["rows"] if row["chosen"]}
    reported = {
        (page.data["labels"][line["cell"]], line["tuned"]["rate"])
        for line in read_lines(out.folder)
        if line["phase"] == "report"
    }
    assert chosen == reported
    assert '"sort": ["0.003", "0.03", "0.1"]' in json.dumps(chart["spec"])


def test_hostile_names_are_text(tmp_path):
    opened = write_folder(
        tmp_path / "hostile", arms={"plain": {}, HOSTILE: {"decay": 0.1}}, seeds=5,
        question=f"Is {HOSTILE} better?", diagnose=True, diverged=((1, 2),),
    )  # fmt: skip
    page = page_of(opened)
    assert not page.open and page.texts["h1"] == f"Is {HOSTILE} better?"
    assert page.texts["title"] == f"Is {HOSTILE} better?"
    assert not any(tag == "img" for tag, _ in page.elements)
    assert f"arm={HOSTILE}" in page.data["labels"]
    assert HOSTILE in page.texts["#table-contrasts"]
    assert f"arm={HOSTILE}, seed 2: diverged at step 7." in page.texts["#problems"]
    for chart in page.data["charts"].values():
        assert not [text for text in expressions(chart["spec"]) if "onerror" in text]


def expressions(spec):
    """Every text of a chart that Vega reads as a field or as code."""
    if isinstance(spec, list):
        return [text for each in spec for text in expressions(each)]
    if not isinstance(spec, dict):
        return []
    own = [v for k, v in spec.items() if k in ("field", "expr", "filter", "test")]
    return [*(str(v) for v in own), *(t for each in spec.values() for t in expressions(each))]


@pytest.mark.parametrize(("replicas", "state"), [(0, "not begun"), (3, "unfinished")])
def test_a_study_that_did_not_finish_says_so(tmp_path, replicas, state):
    opened = write_folder(tmp_path / "part", **GRID, replicas=replicas)
    page = page_of(opened)
    assert not page.open and f"{state} {replicas} of 20 replicas finished" in page.shown
    missing = f"{20 - replicas} replicas not finished and no process at work: `resume"
    assert missing in page.texts["#problems"]
    assert ("No answer yet." in page.texts["#answer"]) == (replicas == 0)
    assert ("#results" in page.texts) == (replicas > 0)
    assert len(page.data["replicas"]) == replicas


def test_a_running_study_and_a_damaged_one(tmp_path):
    from experiments.engine.lease import lease

    opened = write_folder(tmp_path / "part", **GRID, replicas=3)
    with lease(opened.folder):
        page = page_of(opened)
        assert "training 3 of 20 replicas finished" in page.shown
        assert "17 replicas still to finish: it is training now." in page.texts["#problems"]
    metrics = opened.folder / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-9])
    (opened.folder / "record.json").write_text("{}")
    page = page_of(opened)
    assert "1 line of metrics.jsonl damaged and left out." in page.texts["#problems"]
    assert "record.json cannot be read" in page.texts["#problems"]
    assert "18 replicas not finished" in page.texts["#problems"]


def test_a_diverged_replica_has_no_value_and_is_named(tmp_path):
    page = page_of(write_folder(tmp_path / "lost", **GRID, diverged=((0, 1), (3, 4))))
    assert page.texts["#problems"].count("diverged at step 7") == 2
    final = page.data["charts"]["final"]["rows"]
    assert sum(row["value"] is None for row in final if row["kind"] == "replica") == 2


def test_rates_of_divergence_and_survivors_have_tables(tmp_path, whole):
    opened = write_folder(tmp_path / "lost", **GRID, diverged=tuple((2, s) for s in range(5)))
    page, answer = page_of(opened), read_facts(opened).answer
    assert answer is not None
    lost = [item for item in answer.analysis.contrasts if item.divergence]
    assert lost and lost[0].divergence is not None and lost[0].divergence.level == 5
    table = page.texts["#table-failures"]
    assert f"{lost[0].divergence.p_adjusted:.3f}" in table and "Holm of 2" in table
    assert "exact McNemar p" in table and "rate 0.1 - 0.03" in table
    assert "rate 0.1 - 0.03" in page.texts["#table-survivors"]
    assert "#table-failures" not in whole[1].texts and "#table-survivors" not in whole[1].texts


def test_a_study_that_still_tunes_shows_each_cell_at_its_best_value(tmp_path):
    grid = {"vary": {"noise": [0.0, 0.5]}, "tune": {"rate": [0.01, 0.1]}, "seeds": 5}
    opened = write_folder(tmp_path / "tunes", **grid, replicas=0)
    best = {0: "0.1", 1: "0.01"}
    with Log(opened.folder) as log:
        for job in tuning_jobs(opened.study):
            worse = 0.0 if dict(job.tuned)["rate"] == best[job.cell] else 1.0
            lines = [evaluation(job, epoch, diagnose=False) for epoch in (1, 2)]
            log.write([each | {"validation_error": worse + 1 / each["epoch"]} for each in lines])
    page = page_of(opened)
    curves = page.data["curves"]["validation_error"]
    assert [(curve["mean"], curve["n"]) for curve in curves] == [([1.0, 0.5], [3, 3])] * 2
    assert "Still tuning: each cell at the value that scores best" in page.texts["#curves"]


def test_arms_that_tune_fields_of_their_own_have_a_column_each(train_toy):
    arms = {"plain": {}, "decayed": {"decay": [0.0, 0.01]}, "slow": {"rate": [0.01, 0.03]}}
    folder = train_toy(arms=arms, seeds=2, tune_seeds=1).folder
    page = page_of(reopen({"toy": Entry(TOY.summary, lambda: TOY)}, folder))
    rows = page.texts["#table-cells"]
    assert "decay" in rows and "rate" in rows and all(arm in rows for arm in arms)


def test_pairs_of_factors_that_are_not_drawn_are_counted(tmp_path):
    """Five factors have ten pairs."""
    vary = {
        "rate": [0.03, 0.1], "noise": [0.0, 0.5], "decay": [0.0, 0.1], "epochs": [1, 2],
        "power": ["square", "quartic"],
    }  # fmt: skip
    page = page_of(write_folder(tmp_path / "many", vary=vary, seeds=2))
    drawn = [name for name in page.data["charts"] if name.startswith("interaction")]
    assert len(drawn) == 6
    assert "4 further pairs of factors not drawn" in page.texts["#effects"]


def test_one_cell_and_one_seed(tmp_path):
    page = page_of(write_folder(tmp_path / "one", seeds=1, name="run"))
    assert not page.open and page.texts["h1"] == "toy: run"
    assert "effects" not in page.data["charts"] and "final" in page.data["charts"]


@pytest.mark.slow
def test_the_page_of_a_large_study_is_lean(large_page):
    assert large_page.stat().st_size < 15e6


def test_colours_are_those_of_okabe_and_ito_and_cells_differ():
    from experiments.engine.page import charts

    assert len(set(charts.COLOURS)) == len(charts.COLOURS) == 7
    levels = [(a, b) for a in "stuv" for b in "xyz"]
    assert len(set(charts.styles(levels))) == 12
    many = charts.styles([(str(i),) for i in range(21)])
    assert len(set(many)) == 21


def test_report_takes_several_folders(tmp_path, capsys):
    entries = {"toy": Entry(TOY.summary, lambda: TOY)}
    folders = [str(write_folder(tmp_path / name, **GRID).folder) for name in "ab"]
    assert cli.main(entries, ["report", *folders], prog="launch.py") == 0
    out = capsys.readouterr().out
    for folder in folders:
        assert f"page: {folder}/report.html" in out
    assert out.endswith(f"side by side: {folders[0]}/comparison.html\n")
    assert cli.main(entries, ["report", folders[0], f"{folders[0]}/"], prog="launch.py") == 0
    out = capsys.readouterr().out
    assert out.count("page: ") == 1 and "side by side" not in out  # one folder, spelled twice


def test_studies_stand_side_by_side_with_what_differs(tmp_path):
    first = write_folder(tmp_path / "a", **GRID)
    second = write_folder(
        tmp_path / f"b{HOSTILE[:3]}", seeds=3, vary={"rate": [0.03, 0.1]}, question=HOSTILE,
        config=dataclasses.replace(TOY.config, decay=0.01),
    )  # fmt: skip
    third = write_folder(tmp_path / "empty", seeds=2, replicas=0)
    line = told.comparison_line([first, second, third])
    page = Page((first.folder / "comparison.html").read_text("utf-8"))
    assert line == f"side by side: {first.folder}/comparison.html" and not page.open
    for name in ("decay", "noise", "seeds", "varied: 0, 0.5", "0.01"):
        assert name in page.texts["#table-differences"]
    for name in ("power", "batch_size", "epochs"):
        assert name not in page.texts["#table-differences"]
    assert HOSTILE in page.texts["#studies"] and "No answer yet." in page.texts["#studies"]
    links = [a["href"] for tag, a in page.elements if tag == "a" and "#" not in a["href"]]
    assert links == [
        "report.html",
        f"../{quote(second.folder.name)}/report.html",
        "../empty/report.html",
    ]
    means = {row["series"]: row["mean"] for row in page.data["charts"]["cells"]["rows"]}
    for name, opened in (("a", first), (second.folder.name, second)):
        facts = read_facts(opened)
        assert facts.answer is not None
        for label, cell in zip(facts.labels, facts.answer.analysis.cells, strict=True):
            assert means[f"{name}: {label}"] == cell.summary.mean
    assert [curve["cell"] for curve in page.data["curves"]["train_loss"]] == list(range(6))
    assert page.data["labels"][4] == f"{second.folder.name}: rate=0.03"


def test_designs_that_differ_are_told(tmp_path):
    grid = {"vary": {"rate": [0.03, 0.1]}, "seeds": 3, "replicas": 0}
    first = write_folder(tmp_path / "a", **grid)
    second = write_folder(
        tmp_path / "b", **grid, margin=0.5, part=Part(seeds=(1,)), tune_per_seed=True
    )
    told.comparison_line([first, second])
    page = Page((first.folder / "comparison.html").read_text("utf-8"))
    for name in ("margin", "part", "tune_per_seed"):
        assert name in page.texts["#table-differences"]
    assert "tune_seeds" not in page.texts["#table-differences"]


def test_without_the_extra_one_line_says_how_to_get_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(told, "is_installed", lambda: False)
    opened = write_folder(tmp_path / "bare", seeds=2)
    line = told.page_line(opened)
    assert line.startswith("no page: it needs the extra `report`: ") and "\n" not in line
    assert not (opened.folder / "report.html").exists()


def test_a_study_begun_from_python_has_no_command_to_train_it_again(tmp_path):
    opened = write_folder(tmp_path / "python", **GRID)
    write_json(opened.folder / "record.json", {"command": ["python", "my.py"], "sessions": []})
    said = page_of(opened).texts["#provenance"]
    assert "python my.py reproduce" not in said
    assert f"give reproduce {opened.folder} to the script that defines the experiment" in said


def test_a_page_that_cannot_be_written_takes_nothing_else_with_it(tmp_path, monkeypatch):
    def write_page(facts):
        raise PermissionError(13, "Permission denied", "report.html")

    monkeypatch.setattr(page_module, "write_page", write_page)
    opened = write_folder(tmp_path / "closed", seeds=2)
    assert told.page_line(opened) == "no page: report.html: Permission denied"
