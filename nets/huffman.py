"""Huffman's code (1952): the shortest paths to words, on the average over a text. On the host."""

import heapq
from collections.abc import Sequence

import numpy as np


def huffman_paths(counts: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The way from the root of a binary tree to each word.

    Args:
        counts: how often each word occurs, at least two words.

    Returns:
        nodes: int32 [words, longest path], the inner nodes passed, 0 .. words - 2; 0 after the end.
        signs: int8 of that shape, 1 or -1, the turn taken at each; 0 after the end.
    """
    words = len(counts)
    heap = [(int(count), word) for word, count in enumerate(counts)]
    heapq.heapify(heap)
    parent, turn = [0] * (2 * words - 1), [0] * (2 * words - 1)
    for node in range(words, 2 * words - 1):
        (low, right), (high, left) = heapq.heappop(heap), heapq.heappop(heap)
        parent[right] = parent[left] = node
        turn[right], turn[left] = -1, 1
        heapq.heappush(heap, (low + high, node))
    paths = [_path(word, parent, turn) for word in range(words)]
    longest = max(len(path) for path in paths)
    filled = np.zeros((words, longest, 2), np.int32)
    for word, path in enumerate(paths):
        filled[word, : len(path)] = path
    return filled[:, :, 0], filled[:, :, 1].astype(np.int8)


def _path(word: int, parent: list[int], turn: list[int]) -> list[tuple[int, int]]:
    """(inner node, turn) from the root down to a word."""
    words, path = (len(parent) + 1) // 2, []
    while word != len(parent) - 1:
        path.append((parent[word] - words, turn[word]))
        word = parent[word]
    return path[::-1]
