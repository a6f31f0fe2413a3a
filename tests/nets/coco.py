"""COCO's evaluation of boxes as loops over Python numbers."""

import numpy as np


def overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def matched(found, truth, threshold):
    """Which of an image's boxes (box, class), the surest first, are right."""
    free, right = list(range(len(truth))), []
    for box, kind in found:
        best, taken = threshold, None
        for i in free:
            if truth[i][1] == kind and overlap(box, truth[i][0]) >= best:
                best, taken = overlap(box, truth[i][0]), i
        right.append(taken is not None)
        if taken is not None:
            free.remove(taken)
    return right


def precision(images, kind, threshold):
    """Average precision of a class; NaN without objects.

    Args:
        images: (found, truth) of each: found (box, class, score), truth (box, class).
    """
    scored, objects = [], 0
    for found, truth in images:
        ordered = sorted(found, key=lambda each: -each[2])
        right = matched([each[:2] for each in ordered], truth, threshold)
        scored += [(o[2], r) for o, r in zip(ordered, right, strict=True) if o[1] == kind]
        objects += sum(each[1] == kind for each in truth)
    if not objects:
        return np.nan
    scored.sort(key=lambda each: -each[0])
    hits, curve = 0, []
    for number, (_, right) in enumerate(scored, start=1):
        hits += right
        curve.append((hits, hits / number))
    levels = [
        max((p for hits, p in curve if 100 * hits >= level * objects), default=0.0)
        for level in range(101)
    ]
    return np.mean(levels)
