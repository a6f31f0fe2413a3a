"""What word vectors are worth: similarity to people's judgement, and analogies."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from experiments.data.word_sets import SIMILARITIES
from experiments.rows import by_chunks

QUESTIONS = 256  # answered at a time
EPSILON = 1e-3  # of 3CosMul (Levy and Goldberg 2014)


def set_scores(inputs: jax.Array, sets: Mapping[str, jax.Array], top: int) -> dict[str, jax.Array]:
    """Scores by the word sets that are there, each with how many of its rows were seen.

    A similarity's is Spearman's correlation; "analogies" the share of questions answered rightly
    among the `top` first words by 3CosAdd, also of meaning and of syntax, and "analogies_mul" by
    3CosMul.
    """
    unit = inputs / jnp.maximum(jnp.linalg.norm(inputs, axis=1, keepdims=True), 1e-30)
    found: dict[str, jax.Array] = {}
    for name in SIMILARITIES:
        if name in sets and len(sets[name]) > 1:
            one, other = (unit[sets[f"{name}_words"][:, side]] for side in (0, 1))
            found[name] = spearman(jnp.sum(one * other, axis=1), sets[name])
            found[f"{name}_pairs"] = jnp.float32(len(sets[name]))
    if len(sets.get("analogies", ())):
        add, mul = analogies(unit, sets["analogies_words"], top)
        syntax = sets["analogies"]
        found |= {
            "analogies": jnp.mean(add),
            "analogies_of_meaning": jnp.sum(add * (1 - syntax)) / jnp.sum(1 - syntax),
            "analogies_of_syntax": jnp.sum(add * syntax) / jnp.sum(syntax),
            "analogies_mul": jnp.mean(mul),
            "analogies_questions": jnp.float32(len(syntax)),
        }
    return found


def remark(config: Any, measured: Mapping[str, float]) -> str:
    """How much of the word sets was seen, or that there are none."""
    sets = {"wordsim353_pairs": "pairs of WordSim-353", "simlex999_pairs": "pairs of SimLex-999"}
    sets["analogies_questions"] = f"analogies over the {config.data.top:,} most frequent words"
    seen = [f"{measured[name]:,.0f} {what}" for name, what in sets.items() if name in measured]
    if seen:
        return f"seen {', '.join(seen)}"
    return (
        "word similarity and analogies are not measured: the folder of --manual-dir has no "
        "word_eval, or the text none of its words"
    )


def spearman(one: jax.Array, other: jax.Array) -> jax.Array:
    """Spearman's correlation of two rows of numbers [n]; equal numbers share their mean rank."""
    ranks = [_ranks(each) for each in (one, other)]
    first, second = (each - jnp.mean(each) for each in ranks)
    return jnp.vdot(first, second) / jnp.sqrt(jnp.vdot(first, first) * jnp.vdot(second, second))


def _ranks(values: jax.Array) -> jax.Array:
    below = jnp.sum(values[:, None] > values[None], axis=1)
    return below + 0.5 * jnp.sum(values[:, None] == values[None], axis=1)


def analogies(unit: jax.Array, questions: jax.Array, top: int) -> tuple[jax.Array, jax.Array]:
    """Which questions "a is to b as c is to d" are answered rightly, by 3CosAdd and 3CosMul.

    Args:
        unit: vectors of length 1.
        questions: int32 [n, 4]: a, b, c and d, none an answer but d.
        top: answers are among the first.

    Returns:
        Two float32 [n], 1 where the answer is d.
    """
    choices = unit[:top]

    def answered(asked: jax.Array) -> tuple[jax.Array, jax.Array]:
        a, b, c = (unit[asked[:, i]] @ choices.T for i in range(3))
        shifted = [(each + 1) / 2 for each in (a, b, c)]
        barred = jnp.any(asked[:, :3, None] == jnp.arange(len(choices))[None, None], axis=1)
        scores = b - a + c, shifted[1] * shifted[2] / (shifted[0] + EPSILON)
        best = [jnp.argmax(jnp.where(barred, -jnp.inf, score), axis=1) for score in scores]
        return tuple((each == asked[:, 3]).astype(jnp.float32) for each in best)  # type: ignore

    return by_chunks(answered, (questions,), QUESTIONS)
