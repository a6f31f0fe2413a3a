"""`metrics.jsonl`: what survives a torn write or a flipped bit, and what is taken back."""

import json

import pytest

from experiments.engine.jobs import make_job
from experiments.engine.log import Log, damaged_lines, finished, line_key, read_lines
from tests.engine.test_folder import STUDY, line


def test_a_torn_last_line_is_left_out(tmp_path):
    lines = [line(seed=seed, final=True, status="finished") for seed in range(3)]
    with Log(tmp_path) as log:
        log.write(lines[:2])
        log.write(lines[2:], durable=True)
    assert read_lines(tmp_path) == lines
    path = tmp_path / "metrics.jsonl"
    whole = path.read_text()
    for cut in (1, 2, len(whole) // 3 - 1):
        path.write_text(whole[:-cut])
        assert read_lines(tmp_path) == (lines if cut == 1 else lines[:2])
    path.write_text(whole + "\0" * 40)
    assert read_lines(tmp_path) == lines
    assert read_lines(tmp_path / "nowhere") == []


def test_lines_of_others_are_dropped_and_those_kept_stay_whole(tmp_path):
    curve = [line(seed=seed, epoch=epoch) for epoch in (1, 2) for seed in range(3)]
    finals = [line(seed=seed, final=True, lines=2, status="finished") for seed in (0, 2)]
    with Log(tmp_path) as log:
        log.write([*curve, *finals])
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"phase": "report", "cell": 0, "tu')
    assert damaged_lines(tmp_path) == 1
    with Log(tmp_path) as log:
        log.keep(finished(read_lines(tmp_path)))
        assert read_lines(tmp_path) == [x for x in [*curve, *finals] if x["seed"] != 1]
        log.write([line(seed=1, epoch=1)])
    assert damaged_lines(tmp_path) == 0
    assert len(read_lines(tmp_path)) == 7  # appended after whole lines
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_numbers_that_are_not_finite_never_reach_the_log(tmp_path):
    with Log(tmp_path) as log, pytest.raises(ValueError, match="not JSON compliant"):
        log.write([line(loss=float("nan"))])
    assert read_lines(tmp_path) == []


def test_lines_belong_to_jobs():
    job = make_job(STUDY, "tune", 3, {"noise": 0.5, "power": "quartic"}, 7)
    written = json.loads(json.dumps(line("tune", 3, job.tuned, 7, final=True, lines=0)))
    assert line_key(written) == job.key
    assert finished([line(epoch=1), written]) == {job.key: written}


def test_replicas_are_taken_back_to_an_epoch(tmp_path):
    curve = [line(seed=seed, epoch=epoch) for epoch in (0, 1, 2) for seed in range(2)]
    final = line(seed=2, final=True)
    with Log(tmp_path) as log:
        log.write([*curve, final])
        log.rewind({("report", 0, (), 0)}, 1)
        log.write([line(seed=0, epoch=2, again=True)])
    kept = [x for x in curve if x["seed"] == 1 or x["epoch"] < 2]
    assert read_lines(tmp_path) == [*kept, final, line(seed=0, epoch=2, again=True)]


@pytest.mark.parametrize("bit", range(0, 8, 3))
def test_a_flipped_bit_anywhere_in_a_line_loses_that_line_alone(tmp_path, bit):
    lines = [line(seed=seed, final=True, loss=0.123456789, tuned=()) for seed in range(3)]
    with Log(tmp_path) as log:
        log.write(lines)
    path = tmp_path / "metrics.jsonl"
    whole = path.read_bytes()
    first, last = whole.index(b"\n") + 1, whole.rindex(b"\n", 0, -1)
    for place in range(first, last):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        assert read_lines(tmp_path) == [lines[0], lines[2]], place


def test_a_line_that_stands_twice_counts_once(tmp_path):
    with Log(tmp_path) as log:
        log.write([line(seed=0, epoch=1), line(seed=0, epoch=2), line(seed=1, epoch=1)])
    once = read_lines(tmp_path)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes() * 2)
    assert read_lines(tmp_path) == once
    with Log(tmp_path) as log:
        assert log.counts()[line_key(once[0])] == 2
