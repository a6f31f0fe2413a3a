"""Where things are kept."""

import os
import pathlib
import tempfile

from experiments.engine.paths import cache_folder


def test_the_cache_is_below_the_folder_asked_for_or_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "ablax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "ablax"


def test_without_a_home_the_cache_is_temporary(monkeypatch):
    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pathlib.Path, "home", home)
    assert cache_folder() == pathlib.Path(tempfile.gettempdir()) / f"ablax-{os.getuid()}"
