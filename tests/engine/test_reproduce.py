"""`reproduce`: every kind of damage and difference gets its own verdict."""

import csv
import shutil
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import Entry
from experiments.engine import cli
from experiments.engine.errors import UsageError
from experiments.engine.folder import read_study
from experiments.engine.jobs import make_job, reporting_pairs
from experiments.engine.log import finished, read_lines
from experiments.engine.merge import merge, shard
from experiments.engine.parameters import (
    digest_of,
    named_arrays,
    parameters_path,
    read_parameters,
    write_parameters,
)
from experiments.engine.reopen import reopen
from experiments.engine.reproduce import _parameter_difference, reproduce
from experiments.engine.sealed import read_json, seal_line, write_json
from experiments.engine.study import Part, make_study
from tests.engine.toy import TOY

pytestmark = pytest.mark.usefixtures("one_build")

ENTRIES = {"toy": Entry(TOY.summary, lambda: TOY)}
GRID = {"vary": {"rate": [0.03, 0.1]}, "tune": {"decay": [0.0, 0.01]}, "tune_seeds": 2, "seeds": 3}
DIGEST = "parameters_sha256"


@pytest.fixture(scope="module")
def recorded(train_toy):
    return train_toy(**GRID).folder


@pytest.fixture(scope="module")
def twin(recorded):
    """The study reproduced in earnest, and what was found and said."""
    before = {path: path.read_bytes() for path in sorted(recorded.rglob("*")) if path.is_file()}
    findings, said = again(recorded)
    assert before == {path: path.read_bytes() for path in before}
    assert sorted(path for path in recorded.rglob("*") if path.is_file()) == list(before)
    return recorded.with_name(f"{recorded.name}-reproduced"), findings, said


@pytest.fixture
def copy(recorded, tmp_path):
    """A folder of its own to do damage in."""
    return shutil.copytree(recorded, tmp_path / "study")


@pytest.fixture
def quick(twin, monkeypatch):
    """What trains again is taken from the twin, for tests of what is said about it."""

    def train_study(study, folder, **_):
        shutil.copytree(twin[0], folder, dirs_exist_ok=True)
        (folder / "reproduction.json").unlink()
        lines = finished(read_lines(folder))
        jobs = {(x["phase"], x["cell"], x["seed"]) for x in lines.values()}
        assert {("report", *pair) for pair in reporting_pairs(study)} <= jobs
        return SimpleNamespace(lines=lines)

    monkeypatch.setattr("experiments.engine.reproduce.train_study", train_study)


def again(folder, **options):
    said = []
    findings = reproduce(reopen(ENTRIES, folder), echo=said.append, **options)
    return findings, said


def verdicts(findings):
    return [finding.verdict for finding in findings]


def rewrite(folder, change):
    """Changes the final line of cell 1, seed 2, and seals it again."""
    lines = read_lines(folder)
    for line in lines:
        if (line["phase"], line["cell"], line["seed"], "final" in line) == ("report", 1, 2, True):
            change(line)
    (folder / "metrics.jsonl").write_text("".join(seal_line(line) + "\n" for line in lines))


def stored(folder):
    arrays = read_parameters(folder, 1, 2)
    assert arrays is not None
    return arrays


def other_digest(text):
    return text[:-1] + ("0" if text[-1] != "0" else "1")


def alter_table(folder):
    """One byte of the digest of cell 1, seed 2 in results.csv."""
    table = (folder / "results.csv").read_text()
    digest = table.splitlines()[-1].rpartition(",")[2]
    assert len(digest) == 64
    (folder / "results.csv").write_text(table.replace(digest, other_digest(digest)))


def alter_parameters(folder, far):
    """Other parameters of cell 1, seed 2, recorded as if they had been trained."""
    path = parameters_path(folder, 1, 2)
    arrays: dict[str, Any] = stored(folder)
    arrays["params/Dense_0/kernel"][0] += np.float32(far)
    np.savez(path, **arrays)
    (folder / "results.csv").unlink()
    rewrite(folder, lambda line: line.update({DIGEST: digest_of(arrays)}))


def test_a_study_with_tuning_is_reproduced_to_the_bit(recorded, twin):
    fresh, findings, said = twin
    assert verdicts(findings) == ["identical"] * (8 + 6)
    assert str(findings[0]) == "tuning decay=0, cell 0 (rate=0.03), seed 1000000: identical"
    assert str(findings[-1]) == "cell 1 (rate=0.1), seed 2: identical"
    assert f"training again into {fresh}" in said
    assert any(text.startswith("14 replicas in 1 program") for text in said)
    assert not any(text.startswith(("differs", "warning")) for text in said)
    there, here = (read_study(folder)["programs"] for folder in (recorded, fresh))
    assert [(p["lanes"], p["devices"]) for p in here] == [(4, 2)] and there == here
    told = read_json(fresh / "reproduction.json")
    assert (told["of"], told["tolerance"], told["differs"]) == (str(recorded), 0.0, {})
    assert told["replicas"][0] == {
        "replica": findings[0].replica, "verdict": "identical", "text": "",
    }  # fmt: skip


def test_parts_are_reproduced_alone(copy):
    findings, _ = again(copy, cells=[1], seeds=[0, 2], out=copy.with_name("part"))
    assert verdicts(findings) == ["identical"] * (4 + 2)
    assert [finding.replica for finding in findings[4:]] == [
        "cell 1 (rate=0.1), seed 0", "cell 1 (rate=0.1), seed 2",
    ]  # fmt: skip
    assert len([x for x in read_lines(copy.with_name("part")) if x.get("final")]) == 6
    with pytest.raises(UsageError, match="--cells 2: the study has 0 to 1"):
        again(copy, cells=[0, 2])
    with pytest.raises(UsageError, match="--seeds 3: the study has 0 to 2"):
        again(copy, seeds=[3])


def test_a_shard_is_reproduced_as_a_shard(train_toy):
    study = shard(make_study(TOY, **GRID), "2/2")
    folder = train_toy(**GRID | {"part": study.part}).folder
    findings, _ = again(folder)
    assert verdicts(findings) == ["identical"] * (4 + 3)
    assert {finding.replica.partition("(")[0][-7:] for finding in findings} == {"cell 1 "}
    with pytest.raises(UsageError, match="--cells 0: the study has 1 to 1"):
        again(folder, cells=[0])


def test_one_altered_byte_in_the_table_is_a_difference(copy, quick):
    alter_table(copy)
    findings, _ = again(copy, seeds=[1, 2], cells=[1])
    assert verdicts(findings[-2:]) == ["identical", "different"]
    text = "results.csv records another parameters_sha256 than metrics.jsonl"
    assert findings[-1].text == text
    assert not findings[-1].is_fine and findings[-2].is_fine


def test_another_digest_that_is_well_sealed_is_a_difference(copy, quick):
    rewrite(copy, lambda line: line.update({DIGEST: other_digest(line[DIGEST])}))
    findings, _ = again(copy, cells=[1])
    assert verdicts(findings[-2:]) == ["identical", "different"]


def test_another_digest_in_both_places_is_not_that_of_the_recorded_parameters(copy, quick):
    alter_table(copy)
    rewrite(copy, lambda line: line.update({DIGEST: other_digest(line[DIGEST])}))
    for tolerance in (0.0, 1e9):
        findings, _ = again(copy, cells=[1], seeds=[2], tolerance=tolerance)
        assert findings[-1].verdict == "different"
        assert "not those of the recorded digest" in findings[-1].text


def test_recorded_parameters_that_were_altered_or_lost_are_told(copy, quick):
    """Though what is trained again has the recorded digests."""
    arrays: dict[str, Any] = stored(copy)
    arrays["params/Dense_0/kernel"][0] += np.float32(1)
    np.savez(parameters_path(copy, 1, 2), **arrays)
    parameters_path(copy, 1, 1).unlink()
    findings, _ = again(copy, cells=[1])
    assert verdicts(findings[-3:]) == ["identical", "identical", "different"]
    texts = ["", "its recorded parameters are lost"]
    texts += ["the recorded parameters are not those of the recorded digest"]
    assert [finding.text for finding in findings[-3:]] == texts
    shutil.rmtree(copy / "parameters")  # removed to save room: no damage
    findings, _ = again(copy, cells=[1])
    assert [str(finding).rpartition(": ")[2] for finding in findings[-3:]] == ["identical"] * 3


def test_a_damaged_line_is_lost_and_nothing_else(copy, quick):
    path = copy / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    final = next(i for i, text in enumerate(lines) if b'"report", "cell": 1' in text and
                 b'"seed": 2' in text and b'"final"' in text)  # fmt: skip
    lines[final] = lines[final].replace(b'"status": "finished"', b'"status": "finishes"')
    path.write_bytes(b"".join(lines))
    findings, _ = again(copy)
    assert verdicts(findings) == ["identical"] * 13 + ["lost"]
    assert "metrics.jsonl is missing or damaged" in findings[-1].text


@pytest.mark.parametrize(
    ("far", "tolerance", "verdict"),
    [(1e-6, 0.0, "different"), (1e-6, 1e-4, "close"), (1e-2, 1e-4, "different")],
)
def test_other_parameters_are_measured_against_the_tolerance(copy, quick, far, tolerance, verdict):
    alter_parameters(copy, far)
    findings, _ = again(copy, cells=[1], seeds=[2], tolerance=tolerance)
    assert findings[-1].verdict == verdict
    assert f"parameters off by up to {far:.0e}"[:-6] in findings[-1].text
    assert "(params/Dense_0/kernel)" in findings[-1].text


def test_other_bits_of_equal_numbers_are_not_called_reproduced(copy, quick, monkeypatch):
    """-0.0 == 0.0: the difference is 0, and still the bits differ."""
    arrays = stored(copy)
    zero = {name: np.zeros_like(array) for name, array in arrays.items()}
    minus = {name: -array for name, array in zero.items()}
    monkeypatch.setattr(
        "experiments.engine.reproduce.read_parameters",
        lambda folder, cell, seed: zero if folder == copy else minus,
    )
    (copy / "results.csv").unlink()
    rewrite(copy, lambda line: line.update({DIGEST: digest_of(zero)}))
    out = copy.with_name("again")
    for tolerance, verdict in ((0.0, "different"), (1e-9, "close")):
        findings, _ = again(copy, cells=[1], seeds=[2], tolerance=tolerance, out=out)
        assert findings[-1].verdict == verdict


def test_another_metric_is_named(copy, quick):
    rewrite(copy, lambda line: line.update(test_error=line["test_error"] + 1e-3))
    findings, _ = again(copy, cells=[1], seeds=[2], tolerance=1e-2)
    text = "results.csv records another test_error than metrics.jsonl"
    assert (findings[-1].verdict, findings[-1].text) == ("different", text)
    (copy / "results.csv").unlink()
    findings, _ = again(copy, cells=[1], seeds=[2])
    assert findings[-1].verdict == "different" and "test_error" in findings[-1].text
    findings, _ = again(copy, cells=[1], seeds=[2], tolerance=1e-2)
    assert findings[-1].verdict == "close"


def test_parameters_that_are_gone_cannot_be_compared_once_the_digest_differs(copy, quick):
    rewrite(copy, lambda line: line.update({DIGEST: other_digest(line[DIGEST])}))
    (copy / "results.csv").unlink()
    parameters_path(copy, 1, 2).write_bytes(b"PK")
    findings, _ = again(copy, cells=[1], tolerance=1.0)
    assert verdicts(findings[-3:]) == ["identical", "identical", "different"]
    assert "cannot be read" in findings[-1].text


def test_fresh_folders_are_named_after_the_study_and_an_unfinished_one_goes_on(
    copy, quick, monkeypatch
):
    for name in ("study-reproduced", "study-reproduced-2"):
        _, said = again(copy, cells=[0], seeds=[0])
        assert f"training again into {copy.with_name(name)}" in said
    begun = copy.with_name("study-reproduced-2") / "reproduction.json"
    unfinished = {name: text for name, text in read_json(begun).items() if name != "replicas"}
    write_json(begun, unfinished)
    findings, said = again(copy, cells=[0], seeds=[0])
    assert f"training again into {copy.with_name('study-reproduced-2')}" in said
    assert verdicts(findings) == ["identical"] * 5
    write_json(begun, unfinished)
    _, said = again(copy, cells=[1], seeds=[0])
    assert f"training again into {copy.with_name('study-reproduced-3')}" in said
    monkeypatch.chdir(copy)
    write_json(begun, {**unfinished, "replicas": []})
    _, said = again(type(copy)("."), cells=[0], seeds=[0])
    assert f"training again into {copy.with_name('study-reproduced-4')}" in said


def test_a_folder_of_one_killed_at_its_first_write_is_taken_up(copy, quick):
    fresh = copy.with_name("study-reproduced")
    fresh.mkdir()
    (fresh / "reproduction.json.partial").write_text("{")
    _, said = again(copy, cells=[0], seeds=[0])
    assert f"training again into {fresh}" in said
    other = copy.with_name("study-reproduced-2")
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    _, said = again(copy, cells=[0], seeds=[0])
    assert f"training again into {copy.with_name('study-reproduced-3')}" in said


def test_the_recorded_folder_proves_nothing_about_itself(copy, quick):
    """Nothing would be trained there, and everything would be called identical."""
    twin = shutil.copytree(copy, copy.with_name("twin"))
    for out in (copy, twin):
        with pytest.raises(UsageError, match=r"not begun to reproduce .*; choose another --out"):
            again(copy, out=out)
    shutil.copytree(copy, copy.with_name("study-reproduced"))
    assert f"training again into {copy.with_name('study-reproduced-2')}" in again(copy)[1]


def test_neither_do_parts_about_what_was_merged_of_them(train_toy, tmp_path):
    grid = {"vary": {"rate": [0.03, 0.1]}, "seeds": 1}
    parts = [train_toy(**grid, part=Part(cells=(n,)), out=tmp_path / str(n)) for n in (0, 1)]
    merged = merge([reopen(ENTRIES, part.folder) for part in parts], tmp_path / "merged")
    for cell, part in enumerate(parts):
        with pytest.raises(UsageError, match="not begun to reproduce"):
            again(merged.folder, cells=[cell], out=part.folder)


def test_other_data_are_refused(copy):
    """They would train another result, which is no failure to reproduce."""
    contents = read_study(copy)
    write_json(copy / "study.json", contents | {"data": ["f" * 64]})
    with pytest.raises(UsageError, match="the data are not those of the recorded study"):
        again(copy, cells=[0], seeds=[0])


@pytest.mark.parametrize("tolerance", [-1.0, np.inf, np.nan])
def test_a_tolerance_that_tells_nothing_is_refused(copy, tolerance):
    with pytest.raises(UsageError, match=f"--tolerance {tolerance:g}: 0 or a positive number"):
        again(copy, tolerance=tolerance)


def test_another_environment_is_told_first(copy, quick):
    record = read_json(copy / "record.json")
    record["packages"]["jax"] = "0.0.1"
    write_json(copy / "record.json", record)
    _, said = again(copy, cells=[0], seeds=[0], out=copy.with_name("a"))
    assert said[0].startswith("differs: packages.jax: 0.0.1 there, ")
    told = read_json(copy.with_name("a") / "reproduction.json")
    assert told["differs"].keys() == {"packages.jax"}
    write_json(copy / "record.json", record | {"apart": ["b differs from a"]})
    _, said = again(copy, cells=[0], seeds=[0], out=copy.with_name("d"))
    assert said[0].startswith("warning: no one plan and environment gives the bits of all: b diff")
    write_json(copy / "record.json", record | {"begun_anew": True})
    _, said = again(copy, cells=[0], seeds=[0], out=copy.with_name("c"))
    assert said[0].startswith("warning: an earlier record.json was damaged")
    (copy / "record.json").write_text("{}")
    _, said = again(copy, cells=[0], seeds=[0], out=copy.with_name("b"))
    assert said[0].startswith("warning: record.json cannot be read")
    assert read_json(copy.with_name("b") / "reproduction.json")["differs"] is None


def test_the_command_line_says_how_many_and_leaves_with_a_code(copy, quick, capsys):
    def call(*arguments):
        code = cli.main(ENTRIES, ["reproduce", *map(str, arguments)], prog="toy.py")
        return code, *capsys.readouterr()

    code, out, err = call(copy, "--cells", "1", "--seeds", "1,2")
    assert code == 0 and out.endswith("6 of 6 replicas reproduced to the bit\n")
    assert "training again into" in err and "Traceback" not in err
    alter_parameters(copy, 1e-6)
    code, out, _ = call(copy, "--cells", "1", "--seeds", "2")
    assert code == 1 and out.endswith("4 of 5 replicas reproduced to the bit\n")
    assert "cell 1 (rate=0.1), seed 2: different (parameters off by up to" in out
    code, out, _ = call(copy, "--cells", "1", "--seeds", "2", "--tolerance", "1e-3")
    assert code == 0 and out.endswith("5 of 5 replicas reproduced within 0.001\n")
    code, out, err = call(copy, "--cells", "7")
    assert (code, out, err) == (2, "", "toy.py: --cells 7: the study has 0 to 1\n")


def test_parameters_of_any_type_keep_their_digest(tmp_path):
    tree = {
        "half": jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3),
        "eight": jnp.ones(3, jnp.float8_e4m3fn),
        "scalar": np.float32(2),
        "none": np.zeros((0, 3), np.int32),
        "mask": np.array([True, False]),
    }
    job = make_job(make_study(TOY, seeds=1), "report", 0, {}, 0)
    write_parameters(tmp_path, job, tree)
    found = read_parameters(tmp_path, 0, 0)
    assert found is not None and found.keys() == tree.keys()
    assert digest_of(found) == digest_of(named_arrays(tree))
    for name, array in named_arrays(tree).items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    path = parameters_path(tmp_path, 0, 0)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert read_parameters(tmp_path, 0, 0) is None
    assert read_parameters(tmp_path, 0, 1) is None


def test_a_digest_depends_on_every_byte_and_name():
    arrays = {"a": np.arange(3, dtype=np.float32), "b": np.zeros((2, 1), np.int32)}
    digest = digest_of(arrays)
    assert digest == digest_of(dict(reversed(arrays.items())))
    others = [
        {"c": arrays["a"], "b": arrays["b"]},
        arrays | {"a": np.nextafter(arrays["a"], np.float32(9))},
        arrays | {"b": np.zeros((1, 2), np.int32)},
        arrays | {"b": np.zeros((2, 1), np.uint32)},
        {"a": arrays["a"]},
    ]
    assert len({digest, *map(digest_of, others)}) == 6


def test_the_digests_of_lines_and_table_are_those_of_the_files(recorded):
    with (recorded / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    finals = [x for x in read_lines(recorded) if x.get("final") and x["phase"] == "report"]
    assert len(rows) == len(finals) == 6
    for row, line in zip(rows, sorted(finals, key=lambda x: (x["cell"], x["seed"])), strict=True):
        arrays = read_parameters(recorded, line["cell"], line["seed"])
        assert arrays is not None and set(arrays) == {
            "params/Dense_0/kernel", "params/Dense_0/bias",
        }  # fmt: skip
        assert row[DIGEST] == line[DIGEST] == digest_of(arrays)


@pytest.mark.parametrize("damage", ["removed", "damaged"])
def test_a_copy_whose_record_cannot_be_read_is_no_fresh_folder(copy, damage):
    twin = shutil.copytree(copy, copy.with_name("twin"))
    record = twin / "record.json"
    record.unlink() if damage == "removed" else record.write_text("{")
    with pytest.raises(UsageError, match="was not begun to reproduce"):
        again(copy, out=twin)
    shutil.copyfile(twin.parent / "study" / "results.csv", record)
    with pytest.raises(UsageError, match="was not begun to reproduce"):
        again(copy, out=copy)


def test_a_flipped_prediction_does_not_outweigh_a_tolerance(copy, quick):
    """Of parameters and metrics that are close, some test example is classified otherwise."""
    (copy / "results.csv").unlink()
    rewrite(copy, lambda line: line.update(test_correct="AA=="))
    findings, _ = again(copy, cells=[1], seeds=[2])
    assert findings[-1].verdict == "different"
    assert findings[-1].text == "other test examples are right"
    findings, _ = again(copy, cells=[1], seeds=[2], tolerance=1e-6)
    assert findings[-1].verdict == "close"


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_no_number_is_infinitely_far(number):
    old, new = {"a": np.zeros(2), "b": np.ones(2)}, {"a": np.zeros(2), "b": np.array([1, number])}
    far, text = _parameter_difference(old, new)
    assert far == np.inf and "(b)" in text
