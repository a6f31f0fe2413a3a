"""Huffman codes: no code begins another, and none is shorter on the average."""

import itertools

import numpy as np
import pytest

from nets.huffman import huffman_paths


def spelled(signs):
    return ["".join("+" if s > 0 else "-" for s in row if s) for row in signs]


@pytest.mark.parametrize("words", [2, 3, 57])
def test_no_code_begins_another_and_all_are_used(words):
    counts = np.random.default_rng(words).zipf(1.3, words) % 1000 + 1
    nodes, signs = huffman_paths(counts)
    codes = spelled(signs)
    assert not any(b.startswith(a) for a, b in itertools.permutations(codes, 2))
    assert sum(2.0 ** -len(code) for code in codes) == 1  # Kraft: no room is left
    assert nodes.max() == words - 2 and nodes.dtype == np.int32 and signs.dtype == np.int8
    turns = {}
    for code, row in zip(codes, nodes, strict=True):
        for depth, node in enumerate(row[: len(code)]):
            assert turns.setdefault(node, code[:depth]) == code[:depth]  # a node has one place
    assert len(turns) == words - 1


def test_the_mean_length_is_the_least_of_all_trees():
    counts = (5, 2, 2, 1, 7)
    lengths = (huffman_paths(counts)[1] != 0).sum(1)
    fits = (
        found for found in itertools.product(range(1, 5), repeat=5)
        if sum(2.0**-n for n in found) <= 1
    )  # fmt: skip
    best = min(np.dot(counts, found) for found in fits)
    assert np.dot(counts, lengths) == best
