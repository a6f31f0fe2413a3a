"""Downloading published sets, and what is said where that is impossible."""

import hashlib
import os
import socket

import pytest

from experiments.data import builders, prepared
from experiments.engine.errors import DataMissingError

IMAGES = "train-images-idx3-ubyte.gz"
pytestmark = pytest.mark.usefixtures("cache")


def test_offline_says_which_files_from_where_into_which_folder(tiny, cache):
    one = tiny("one", 1)
    with pytest.raises(DataMissingError) as caught:
        prepared.load(one.published, None)
    text = str(caught.value)
    assert all(f"http://127.0.0.1:9/{name}" in text for name in one.files)
    assert f"Put them into {cache / 'manual' / 'one'}" in text
    assert "cannot be reached" in text
    assert "--manual-dir" in text


def test_a_server_that_never_answers_is_given_up(tiny, monkeypatch):
    monkeypatch.setattr(builders, "PATIENCE", 0.3)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        one = tiny("one", 1, url=f"http://127.0.0.1:{listening.getsockname()[1]}/")
        with pytest.raises(DataMissingError, match="cannot be reached"):
            prepared.load(one.published, None)


def test_files_are_downloaded_where_there_is_a_network(tiny, server, cache):
    folder, url = server
    one = tiny("one", 1, url)
    one.write(folder)
    one.assert_in(prepared.load(one.published, None))
    assert sorted(os.listdir(cache)) == ["manual", "one"]


def test_a_download_of_something_else_is_refused(tiny, server, cache):
    folder, url = server
    one = tiny("one", 1, url)
    one.write(folder)
    (folder / IMAGES).write_bytes(b"<html>moved</html>")
    with pytest.raises(DataMissingError, match="the download failed") as caught:
        prepared.load(one.published, None)
    assert hashlib.sha256(b"<html>moved</html>").hexdigest() in str(caught.value)
    assert sorted(os.listdir(cache)) == ["manual"]
