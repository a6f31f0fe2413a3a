"""A script outside the project, run as a process, killed, and run again to the same bits."""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import time

import pytest

from experiments.engine.folder import read_study
from experiments.engine.log import read_lines
from experiments.engine.sources import ROOT
from tests.engine import toy

HELPER = '"""Imported by the script."""\n\nNUMBER = 7\n'
ARGUMENTS = [
    "study", "--vary", "rate=0.03,0.1", "--seeds", "40", "--epochs", "20", "--lanes", "4",
    "--devices", "2",
]  # fmt: skip


def finals(folder):
    return [line for line in read_lines(folder) if line.get("final")]


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The toy experiment in a folder of its own, with a package beside it."""
    folder = tmp_path_factory.mktemp("mine")
    for name in ("lib", "lib/parts"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f'"""{name}"""\n')
    (folder / "lib" / "parts" / "helper.py").write_text(HELPER)
    source = pathlib.Path(toy.__file__).read_text()
    path = folder / "my_experiment.py"
    path.write_text(source.replace("import jax\n", "import jax\nimport lib.parts.helper\n", 1))
    return path


def start(script, out):
    command = [sys.executable, script.name, *ARGUMENTS, "--out", str(out)]
    return subprocess.Popen(
        command, cwd=script.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def killed(script, tmp_path_factory):
    """Killed after two lane groups or more, then given the same command: folder, words, counts."""
    folder = tmp_path_factory.mktemp("killed") / "study"
    process = start(script, folder)
    deadline = time.monotonic() + 120
    while len(finals(folder)) < 8 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    said, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    before = finals(folder)
    assert (folder / "lease.json").exists()
    again = start(script, folder)
    said, _ = again.communicate(timeout=120)
    assert again.returncode == 0, said
    return folder, said, before


def test_a_killed_study_goes_on_to_the_bits_of_an_uninterrupted_one(killed, train_toy):
    folder, said, before = killed
    assert 8 <= len(before) < 80
    assert f"{80 - len(before)} replicas in 1 program, one trace each" in said
    whole = train_toy(config=toy.Config(epochs=20), vary={"rate": [0.03, 0.1]}, seeds=40)
    lines = [[json.dumps(line) for line in read_lines(each)] for each in (folder, whole.folder)]
    assert len(lines[0]) == len(set(lines[0])) == 80 * 21
    assert sorted(lines[0]) == sorted(lines[1])
    for name in ("results.csv", "analysis.json"):
        assert (folder / name).read_text() == (whole.folder / name).read_text()
    assert [look["seeds"] for look in read_study(folder)["looks"]] == [40]
    assert not [path for path in folder.iterdir() if path.name.startswith("lease")]


def test_the_record_says_where_a_study_came_from(killed, script):
    folder, *_ = killed
    record = json.loads((folder / "record.json").read_text())
    assert record["command"][1:] == [script.name, *ARGUMENTS, "--out", str(folder)]
    assert {"commit", "dirty"} == set(record["git"])
    assert record["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"jax", "jaxlib", "flax", "optax", "numpy", "scipy"} <= set(record["packages"])
    lock = ROOT / "requirements.lock"
    assert record["lock_sha256"] == hashlib.sha256(lock.read_bytes()).hexdigest()
    assert record["device"]["platform"] == "cpu" and record["device"]["count"] == 2
    assert len(record["device"]["instruction_set_sha256"]) == 64
    assert {"processor", "kind", "driver"} <= set(record["device"])
    assert record["jax_config"]["default_prng_impl"] == "threefry2x32"
    assert "xla_flags" in record and record["platform"]
    (data,) = record["data"]
    assert data == {"name": "line", "digest": toy.load(None, None).digest}


def test_the_sources_are_kept_also_those_from_outside(killed, script):
    folder, *_ = killed
    record = json.loads((folder / "record.json").read_text())
    with tarfile.open(folder / "sources.tar.gz") as archive:
        kept = {
            member.name: archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive.getmembers()
        }
    assert kept["outside/my_experiment.py"] == script.read_bytes()
    assert kept["outside/lib/parts/helper.py"] == HELPER.encode()
    assert kept["outside/lib/__init__.py"] != kept["outside/lib/parts/__init__.py"]
    for name in ("experiments/engine/step.py", "experiments/engine/run.py", "nets/options.py"):
        assert kept[name] == (ROOT / name).read_bytes()
    assert set(kept) == {*record["sources"], "uncommitted.patch"}
    for name, digest in record["sources"].items():
        assert hashlib.sha256(kept[name]).hexdigest() == digest
    assert not any("site-packages" in name or name.startswith("/") for name in kept)
