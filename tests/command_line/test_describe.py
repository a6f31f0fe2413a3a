"""What commands say that train nothing."""

import pytest

from tests.command_line.calls import SMALL, refused


@pytest.mark.slow
def test_a_dry_run_shows_the_cost_and_writes_nothing(cli, tmp_path):
    answer = cli(
        "study mlp --dataset digits --epochs 1 --vary 'width=();8,4' "
        "--vary dropout=none,0,0.5 --seeds 3 --dry-run"
    )
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("6 cells x 3 seeds:")
    assert "  width=8,4 dropout=0.5\n" in answer.out
    assert "4 programs:" in answer.out
    assert "width=8,4 dropout=traced" in answer.out
    for part in ("replicas", "steps", "lanes", "devices", "memory", "s of training"):
        assert part in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_describe_shows_layers_parameters_and_flops(cli, tmp_path):
    answer = cli("describe mlp --dataset digits --width 20,10 --norm batch")
    assert (answer.code, answer.err) == (0, "")
    rows = {line.split()[0]: line.split() for line in answer.out.splitlines() if line}
    assert rows["layer_1"] == ["layer_1", "Dense", "20", "1,280", "kernel", "64x20"]
    assert rows["norm_2"][:4] == ["norm_2", "BatchNorm", "10", "20"]
    assert rows["output"][:4] == ["output", "Dense", "10", "110"]
    expected = 64 * 20 + 2 * 20 + 20 * 10 + 2 * 10 + 10 * 10 + 10
    assert f"parameters: {expected:,}\n" in answer.out
    assert "other state (batch_stats): 60\n" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []


def test_the_linear_classifier_in_every_spelling(cli):
    answers = [
        cli(f"describe mlp --dataset digits {width}")
        for width in ('--width "()"', '--width="()"', "--width '[]'")
    ]
    assert answers[0].code == 0
    assert "parameters: 650\n" in answers[0].out
    assert answers[0] == answers[1] == answers[2]


def test_values_in_every_spelling(cli):
    plain = cli("describe mlp --dataset digits --width 8,8 --activation leaky_relu:0.2")
    spelled = cli(
        "describe mlp --dataset=digits --width='(8, 8)' --activation=leaky_relu:2e-1 "
        "--learning_rate 1E-3 --dropout none --skip false --init normal:1e-2"
    )
    assert plain.code == 0
    assert plain == spelled
    refused(cli("describe mlp --init normal:-1e-2 --learning-rate -1e-3"), "--learning-rate -0.001")


def test_a_flag_alone_is_true(cli, finished):
    answer = cli(f"run mlp {SMALL} --skip --dry-run --out {finished}")
    refused(answer, "skip: false there, true here")
