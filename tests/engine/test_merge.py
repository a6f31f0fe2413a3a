"""`--shard` and `merge`: parts trained apart are the whole trained at once, to the bit."""

import dataclasses
import html
import shutil

import numpy as np
import pytest

from experiments import Entry
from experiments.data.dataset import make_dataset
from experiments.engine.control import Saving
from experiments.engine.errors import UsageError
from experiments.engine.folder import read_study
from experiments.engine.jobs import reporting_pairs, tuning_jobs
from experiments.engine.log import finished, read_lines
from experiments.engine.merge import merge, shard
from experiments.engine.pack import methods
from experiments.engine.page.facts import read_facts
from experiments.engine.page.sections import problems
from experiments.engine.parameters import read_parameters
from experiments.engine.plan import Override
from experiments.engine.preview import preview
from experiments.engine.record import doubts
from experiments.engine.reopen import reopen
from experiments.engine.sealed import read_json, seal_line, write_json
from experiments.engine.study import Part, make_study
from tests.engine.toy import TOY, load

pytestmark = pytest.mark.usefixtures("one_build")

ENTRIES = {"toy": Entry(TOY.summary, lambda: TOY)}
GRID = {"vary": {"rate": [0.03, 0.1]}, "tune": {"decay": [0.0, 0.01]}, "tune_seeds": 2, "seeds": 4}
STUDY = make_study(TOY, **GRID)


def train_part(train_toy, text, **options):
    study = shard(make_study(TOY, **GRID | options), text)
    return train_toy(**GRID | options | {"part": study.part}).folder


@pytest.fixture(scope="module")
def whole(train_toy):
    return train_toy(**GRID).folder


@pytest.fixture(scope="module")
def by_cell(train_toy):
    return [train_part(train_toy, f"{i}/2") for i in (1, 2)]


@pytest.fixture(scope="module")
def by_seed(train_toy):
    return [train_part(train_toy, f"{i}/3") for i in (1, 2, 3)]


def opened(folders):
    return [reopen(ENTRIES, folder) for folder in folders]


def assert_same(merged, whole):
    for name in ("results.csv", "tuning.csv", "report.txt", "analysis.json"):
        assert (merged / name).read_text() == (whole / name).read_text(), name
    lines = [sorted(map(str, read_lines(folder))) for folder in (merged, whole)]
    assert lines[0] == lines[1]
    files = sorted(path.name for path in (whole / "parameters").iterdir())
    assert sorted(path.name for path in (merged / "parameters").iterdir()) == files
    for cell, seed in reporting_pairs(reopen(ENTRIES, whole).study):
        mine, theirs = (read_parameters(folder, cell, seed) for folder in (merged, whole))
        assert mine is not None and theirs is not None and mine.keys() == theirs.keys()
        for name, array in theirs.items():
            np.testing.assert_array_equal(mine[name], array)


def test_shards_are_disjoint_and_complete():
    for study, count, where in ((STUDY, 2, "cells"), (STUDY, 3, "seeds"), (STUDY, 4, "seeds")):
        parts = [shard(study, f"{i}/{count}") for i in range(1, count + 1)]
        pairs = [pair for part in parts for pair in reporting_pairs(part)]
        assert sorted(pairs) == reporting_pairs(study)
        assert all(getattr(part.part, where) for part in parts)
    assert shard(STUDY, " 2/2 ").part == Part(cells=(1,))
    assert shard(STUDY, "1/3").part == Part(seeds=(0, 3))
    assert len(tuning_jobs(shard(STUDY, "2/2"))) * 2 == len(tuning_jobs(STUDY)) == 8
    assert shard(STUDY, "1/1") == STUDY
    later = dataclasses.replace(STUDY, first_seed=7)
    assert shard(later, "3/3").part == Part(seeds=(9,))


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", "1.5/2", ""])
def test_shards_that_are_none(text):
    with pytest.raises(UsageError, match=rf"--shard {text}: expected i/n, such as 2/3"):
        shard(STUDY, text)


def test_more_shards_than_cells_and_seeds():
    with pytest.raises(UsageError, match="--shard 1/5: 2 cells x 4 seeds have fewer parts"):
        shard(STUDY, "1/5")


def test_parts_by_cell_merge_to_the_whole(by_cell, whole, tmp_path):
    assert "Part of a study: `merge` joins" in (by_cell[0] / "report.txt").read_text()
    merged = merge(opened(reversed(by_cell)), tmp_path / "merged")
    assert_same(merged.folder, whole)
    assert merged.study == reopen(ENTRIES, merged.folder).study == reopen(ENTRIES, whole).study
    assert merged.report(100) + "\n" == (whole / "report.txt").read_text()
    there, here = (read_study(folder) for folder in (whole, merged.folder))
    assert {k: v for k, v in here.items() if k != "looks"} == {
        k: v for k, v in there.items() if k != "looks"
    }
    assert [look["seeds"] for look in here["looks"]] == [4]
    record = read_json(merged.folder / "record.json")
    assert len(record["parts"]) == 1 and (merged.folder / "sources.tar.gz").exists()


def test_three_parts_by_seed_merge_to_the_whole(by_seed, whole, tmp_path):
    """Each part repeats the tuning, to the bit."""
    merged = merge(opened(by_seed), tmp_path / "merged")
    assert_same(merged.folder, whole)
    assert len(read_json(merged.folder / "record.json")["parts"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_tuning_inside_each_seed_merges_too(train_toy, tmp_path, count):
    options = {"tune_per_seed": True, "seeds": 3}
    parts = [train_part(train_toy, f"{i}/{count}", **options) for i in range(1, count + 1)]
    whole = train_toy(**GRID | options).folder
    assert_same(merge(opened(parts), tmp_path / "merged").folder, whole)


def test_a_merged_study_goes_on_like_any_other(by_seed, train_toy, tmp_path):
    merged = merge(opened(by_seed), tmp_path / "merged")
    said = []
    train_toy(**GRID, out=merged.folder, echo=said.append)
    assert "every replica was trained before: nothing to do" in said
    more = train_toy(**GRID | {"seeds": 5}, out=merged.folder, echo=said.append)
    assert any(text.startswith("2 replicas in 1 program") for text in said)
    assert len(more.lines) == 8 + 10


def test_overlaps_gaps_and_lonely_parts_are_refused(by_cell, by_seed, whole, tmp_path):
    out = tmp_path / "merged"
    with pytest.raises(UsageError, match="merge joins the folders of two parts or more"):
        merge(opened(by_cell[:1]), out)
    with pytest.raises(UsageError) as caught:
        merge(opened([by_cell[0], by_cell[1], by_cell[0]]), out)
    assert str(caught.value) == (
        f"{by_cell[0]} and {by_cell[0]} both hold rate=0.03, seed 0: parts of a study do not "
        "overlap"
    )
    with pytest.raises(UsageError, match=r"both hold rate=0.03, seed 0"):
        merge(opened([by_cell[0], by_seed[0]]), out)
    with pytest.raises(UsageError, match=r"both hold"):
        merge(opened([whole, by_seed[0]]), out)
    with pytest.raises(
        UsageError,
        match=r"in none .*: 2 replicas, .* rate=0.03, seed 2; train and name all",
    ):
        merge(opened([by_seed[0], by_seed[1]]), out)
    assert not out.exists()


def test_a_part_with_a_damaged_line_leaves_a_gap(by_cell, tmp_path):
    part = shutil.copytree(by_cell[1], tmp_path / "part")
    path = part / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UsageError, match=r"in none of these folders: 1 replica, the first"):
        merge(opened([by_cell[0], part]), tmp_path / "merged")
    tuned = finished(read_lines(by_cell[1]))
    kept = [x for x in read_lines(by_cell[1]) if x["phase"] != "tune" or x["seed"] != 1_000_001]
    assert len(tuned) == 8
    path.write_text("".join(seal_line(x) + "\n" for x in kept))
    with pytest.raises(UsageError, match=r"in none of these folders: 2 tuning replicas"):
        merge(opened([by_cell[0], part]), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_tuning_that_came_out_otherwise_is_no_repetition(by_seed, tmp_path):
    part = shutil.copytree(by_seed[1], tmp_path / "part")
    lines = read_lines(part)
    line = next(x for x in lines if x.get("final") and x["phase"] == "tune")
    line["validation_error"] += 1e-7
    (part / "metrics.jsonl").write_text("".join(seal_line(x) + "\n" for x in lines))
    with pytest.raises(UsageError, match=r"both hold rate=0.03 decay=0, seed 1000000, .* differ"):
        merge(opened([by_seed[0], part, by_seed[2]]), tmp_path / "merged")


def test_parts_of_other_studies_are_refused(by_cell, train_toy, tmp_path):
    config = dataclasses.replace(TOY.config, epochs=3)
    study = shard(make_study(TOY, config, **GRID), "2/2")
    other = train_toy(config=config, **GRID, part=study.part).folder
    with pytest.raises(UsageError, match=r"not of the same study as .* they differ in config"):
        merge(opened([by_cell[0], other]), tmp_path / "merged")


def test_parts_with_other_margins_are_refused(by_cell, train_toy, tmp_path):
    part = train_part(train_toy, "2/2", margin=0.5)
    with pytest.raises(UsageError, match=r"they differ in margin"):
        merge(opened([by_cell[0], part]), tmp_path / "merged")


@pytest.mark.slow
def test_parts_on_other_data_are_refused(by_cell, train, tmp_path):
    def load_other(config, manual_dir):
        dataset = load(config, manual_dir)
        test = {name: array + 1 for name, array in dataset.splits["test"].items()}
        return make_dataset("line", {**dataset.splits, "test": test}, dataset.spec)

    other = dataclasses.replace(TOY, load=load_other)
    folder = train(other, **GRID, part=shard(STUDY, "2/2").part).folder
    with pytest.raises(
        UsageError, match=r"not of the same study as .* they differ in the data line"
    ):
        merge(opened([by_cell[0], folder]), tmp_path / "merged")


@pytest.mark.slow
def test_parts_may_train_on_data_sets_of_their_own(train, tmp_path):
    """Where the data set is a factor, a part by cell knows only some of them."""

    def load_by_power(config, manual_dir):
        dataset = load(config, manual_dir)
        rows = 11 if config.power == "square" else 9
        test = {name: array[:rows] for name, array in dataset.splits["test"].items()}
        return make_dataset(config.power, {**dataset.splits, "test": test}, dataset.spec)

    experiment = dataclasses.replace(TOY, load=load_by_power)
    grid = {"vary": {"power": ["square", "quartic"]}, "seeds": 2}
    entries = {"toy": Entry("", lambda: experiment)}
    study = make_study(experiment, **grid)
    parts = [train(experiment, **grid, part=shard(study, f"{i}/2").part).folder for i in (1, 2)]
    whole = train(experiment, **grid).folder
    merged = merge([reopen(entries, part) for part in parts], tmp_path / "merged").folder
    there, here = (read_study(folder) for folder in (whole, merged))
    assert len(here["data"]) == 2 and here["metrics"][0]["examples"] == 9
    assert [here[name] for name in ("data", "metrics")] == [there[n] for n in ("data", "metrics")]
    assert (merged / "report.txt").read_text() == (whole / "report.txt").read_text()
    names = [
        {data["name"] for data in read_json(f / "record.json")["data"]} for f in (whole, merged)
    ]
    assert names == [{"square", "quartic"}] * 2


def test_a_target_that_holds_something_is_refused(by_cell, whole, tmp_path):
    with pytest.raises(UsageError, match="holds this study already; choose another --out"):
        merge(opened(by_cell), whole)
    with pytest.raises(UsageError, match=r"holds another study \(cells: "):
        merge(opened(by_cell), by_cell[0])
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match="not a study"):
        merge(opened(by_cell), tmp_path)


def test_damaged_records_and_missing_sources_are_no_obstacle(by_cell, whole, tmp_path):
    parts = [shutil.copytree(part, tmp_path / part.name) for part in by_cell]
    (parts[0] / "record.json").write_text("{")
    for part in parts:
        (part / "sources.tar.gz").unlink()
    merged = merge(opened(parts), tmp_path / "merged")
    assert_same(merged.folder, whole)
    assert read_json(merged.folder / "record.json")["parts"] == []


def test_other_data_are_no_secret_of_a_part_without_a_record(by_cell, tmp_path):
    parts = [shutil.copytree(part, tmp_path / part.name) for part in by_cell]
    (parts[1] / "record.json").unlink()
    write_json(parts[1] / "study.json", read_study(parts[1]) | {"data": ["0" * 64]})
    for order in (parts, parts[::-1]):
        with pytest.raises(UsageError, match=r"record.json is missing or damaged, and without it"):
            merge(opened(order), tmp_path / "merged")
    (parts[0] / "record.json").unlink()
    with pytest.raises(UsageError, match=r"record.json is missing or damaged, and without it"):
        merge(opened(parts), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_parts_killed_before_their_look_merge(by_cell, tmp_path):
    parts = []
    for number, folder in enumerate(by_cell):
        parts.append(shutil.copytree(folder, tmp_path / str(number)))
        write_json(parts[-1] / "study.json", read_study(folder) | {"looks": []})
    merged = merge(opened(parts), tmp_path / "merged")
    assert [look["seeds"] for look in merged.contents["looks"]] == [4]


def test_a_part_that_was_looked_at_more_often_counts(by_cell, tmp_path):
    """The verdicts are corrected for the looks of the part that had most."""
    part = shutil.copytree(by_cell[1], tmp_path / "part")
    contents = read_study(part)
    looks = [{"seeds": 2, "time": "then"}, *contents["looks"]]
    write_json(part / "study.json", contents | {"looks": looks})
    merged = merge(opened([by_cell[0], part]), tmp_path / "merged")
    assert [look["seeds"] for look in merged.contents["looks"]] == [2, 4]


def test_the_whole_is_looked_at_with_all_of_its_seeds(by_cell, tmp_path):
    """Whatever a part was looked at with last."""
    part = shutil.copytree(by_cell[1], tmp_path / "part")
    contents = read_study(part)
    write_json(
        part / "study.json",
        contents | {"looks": [*contents["looks"], {"seeds": 2, "time": "then"}]},
    )
    merged = merge(opened([by_cell[0], part]), tmp_path / "merged")
    assert [look["seeds"] for look in merged.contents["looks"]] == [2, 4]
    (again,) = opened([merged.folder])
    assert again.report(100) + "\n" == (merged.folder / "report.txt").read_text()


def test_some_of_the_seeds_give_no_verdict(train_toy):
    """Looks at parts are not counted when they are merged."""
    options = {"vary": {"rate": [0.03, 0.1]}, "seeds": 10}
    part = shard(make_study(TOY, **options), "1/2")
    assert part.part == Part(cells=(0,))
    seeds = train_toy(**options, part=Part(seeds=(0, 2, 4, 6, 8)))
    assert seeds.analysis.exploratory
    assert "There is no verdict on some of the seeds." in " ".join(seeds.text.split())
    assert not train_toy(**options, part=Part(cells=(0, 1))).analysis.exploratory


def test_a_merge_cut_short_is_given_again(by_cell, whole, tmp_path, monkeypatch):
    out = tmp_path / "merged"
    with monkeypatch.context() as patch:
        patch.setattr("experiments.engine.merge.write_results", _fail)
        with pytest.raises(OSError, match="No space"):
            merge(opened(by_cell), out)
    merge(opened(by_cell), out)
    assert_same(out, whole)


def _fail(*_):
    raise OSError(28, "No space left on device")


def test_the_whole_of_extendable_parts_is_not_extendable(train_toy, tmp_path):
    grid = {"vary": {"rate": [0.03, 0.1]}, "seeds": 2}
    parts = []
    for number in (1, 2):
        part = shard(make_study(TOY, **grid), f"{number}/2").part
        kept = Saving(extendable=True)
        parts.append(train_toy(**grid, part=part, saving=kept).folder)
    merged = merge(opened(parts), tmp_path / "merged")
    assert read_study(merged.folder)["extendable"] is False
    assert (merged.folder / "sources.tar.gz").exists()
    assert (merged.folder / "part-1-sources.tar.gz").exists()


@pytest.mark.slow
def test_parts_under_other_plans_are_told(train_toy, tmp_path):
    grid, parts, said = {"vary": {"rate": [0.03, 0.1]}, "seeds": 2}, [], []
    for number, lanes in ((1, 4), (2, 2)):
        part = shard(make_study(TOY, **grid), f"{number}/2").part
        override = Override(lanes=lanes, devices=2)
        parts.append(train_toy(**grid, part=part, override=override).folder)
    merged = merge(opened(parts), tmp_path / "merged", said.append)
    (text,) = said
    assert (
        "so they agree to a tolerance at best, not to the bit: the plan: lanes and devices" in text
    )
    (kept,) = doubts(merged.folder)
    assert text == f"warning: {kept}"
    assert kept in html.unescape(problems(read_facts(merged)))
    assert f" {kept}." in methods(merged.study, read_json(merged.folder / "record.json"), "x", "")


@pytest.mark.slow
def test_a_preview_counts_what_is_asked_for_and_missing(train_toy):
    trained = train_toy(vary={"rate": [0.03, 0.1]}, seeds=2).folder
    said = preview(make_study(TOY, vary={"rate": [0.03, 0.1]}, seeds=1), trained)
    assert "2 of 2 replicas are done there already" in said and "about 0 s of training" in said


def test_the_preview_of_a_part_counts_what_it_trains(tmp_path):
    study = shard(make_study(TOY, vary={"rate": [0.03, 0.1]}, seeds=4), "1/2")
    said = preview(study, tmp_path / "part")
    assert said.startswith("1 cell x 4 seeds:\n  rate=0.03\n1 program")
