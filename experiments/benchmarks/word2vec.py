"""Words per second of skip-gram with negative sampling: Ablax and gensim, side by side.

`make bench`, or `python -m experiments.benchmarks.word2vec --help`. Both read the same words of a
text for as many epochs at the same settings, gensim's defaults; after the last epoch both are
judged by the same word sets. The sides take turns, an epoch each, in processes of their own. From
three seeds on, the scores of both are compared.
"""

import argparse
import contextlib
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.stats

from experiments.benchmarks import report
from experiments.benchmarks.words import WordProblem, text_of
from experiments.benchmarks.worker import Worker
from experiments.engine.errors import AblaxError

MISSING = "gensim is not installed: `make bench` installs it, or `pip install gensim`"
SCORES = ("wordsim353", "simlex999", "analogies")
FEWEST = 3
"""Seeds from which the scores of both sides are compared."""

Found = Mapping[str, Mapping[str, float]]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints Markdown; returns the exit code."""
    options = _options(argv)
    try:
        import gensim  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError:
        print(f"word2vec benchmark: {MISSING}", file=sys.stderr)
        return 2
    try:
        text_of(WordProblem(options.manual_dir, options.dataset))
    except AblaxError as error:
        print(f"word2vec benchmark: {error}", file=sys.stderr)
        return error.code
    report.begin("Word vector benchmark", "experiments.benchmarks.word2vec")
    found = []
    for seed in range(options.seeds):
        problem = WordProblem(
            options.manual_dir, options.dataset, options.epochs, seed, workers=options.workers
        )
        found.append(_compare(problem))
    if options.seeds >= FEWEST:
        _print_parity(found)
    report.end()
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmarks.word2vec",
        description="Speed and quality of Ablax's word vectors against gensim's, on the CPU.",
    )
    counts = {"type": report.count, "metavar": "N"}
    parser.add_argument("--manual-dir", metavar="DIR", help="folder of the publishers' files")
    parser.add_argument(
        "--dataset", default="python_docs", help="text (default python_docs), such as wikitext2"
    )
    parser.add_argument("--epochs", default=5, help="turns of each side (default 5)", **counts)
    parser.add_argument("--seeds", default=1, help="trainings (default 1)", **counts)
    parser.add_argument("--workers", default=2, help="gensim's threads (default 2)", **counts)
    return parser.parse_args(argv)


def parity(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float, str]:
    """How two samples of one score compare, a larger one being better.

    Args:
        ours, theirs: one value per seed, three or more; the seeds of two programs are not pairs.

    Returns:
        Difference of the means, its 95 % interval (Welch 1947), and "no worse", "better" or
        "worse": the last two where the interval lies on one side of 0.
    """
    difference = float(np.mean(ours) - np.mean(theirs))
    if np.ptp(ours) == np.ptp(theirs) == 0:
        low = high = difference
    else:
        test = scipy.stats.ttest_ind(ours, theirs, equal_var=False)
        low, high = map(float, test.confidence_interval())
    verdict = "better" if low > 0 else "worse" if high < 0 else "no worse"
    return difference, low, high, verdict


def _print_parity(found: Sequence[Found]) -> None:
    """A table of every score that all trainings have."""
    print(
        f"\n## Ablax's scores against gensim's, {len(found)} seeds\n\n"
        "| score | Ablax | gensim | difference | 95 % interval | |\n|---|---|---|---|---|---|"
    )
    for name in SCORES:
        if all(name in each for sides in found for each in sides.values()):
            ours, theirs = ([sides[side][name] for sides in found] for side in ("Ablax", "gensim"))
            difference, low, high, verdict = parity(ours, theirs)
            print(
                f"| {name} | {np.mean(ours):.3f} | {np.mean(theirs):.3f} | {difference:+.3f} | "
                f"[{low:+.3f}, {high:+.3f}] | {verdict} |"
            )


def _compare(problem: WordProblem) -> Found:
    """One table: both sides on one problem, in turns. Returns what their vectors are worth."""
    from experiments.benchmarks import ablax_words, gensim_words

    with contextlib.ExitStack() as stack:
        sides = {"Ablax": ablax_words, "gensim": gensim_words}
        workers = {name: stack.enter_context(Worker(each.prepare)) for name, each in sides.items()}
        prepared = {name: worker.prepare(problem) for name, worker in workers.items()}
        seconds = report.take_turns(workers, problem.epochs)
        found = {name: workers[name].call(each.quality) for name, each in sides.items()}
        words = workers["Ablax"].call(_words_of, problem)
    seen = ", ".join(
        f"{name} {count:g}" for name, count in found["Ablax"].items()
        if name.endswith(("_pairs", "_questions"))
    )  # fmt: skip
    print(
        f"\n## {problem.dataset}, {words:,} words, {problem.epochs} epochs, seed {problem.seed}\n\n"
        f"Seen: {seen or 'no word sets, give --manual-dir'}\n\n"
        "| side | ready s | words/s | min .. max | Ablax's ratio | min .. max | "
        f"{' | '.join(SCORES)} | bytes a word | how |\n" + "|---" * (8 + len(SCORES)) + "|"
    )
    for name, cells in report.rates(words, seconds, "Ablax").items():
        ready, note = prepared[name]
        print(
            f"| {name} | {ready:.1f} | {' | '.join(cells)} | {' | '.join(_shown(found[name]))} | "
            f"{found[name]['bytes_per_word']:,.0f} | {note} |",
            flush=True,
        )
    return found


def _words_of(problem: WordProblem) -> int:
    """Words of an epoch, of those that count."""
    return text_of(problem).spec.train_rows


def _shown(found: Mapping[str, float]) -> list[str]:
    return [f"{found[name]:.3f}" if name in found else "" for name in SCORES]


if __name__ == "__main__":
    sys.exit(main())
