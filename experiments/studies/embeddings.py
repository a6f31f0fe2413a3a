"""Declared studies of word vectors, on the documentation of Python.

They are judged by closeness in held-out text, which compares nets of all objectives and windows.
"""

from experiments.studies.declared import Declared

RATES = {"learning_rate": "0.01,0.03,0.1"}
MORE_RATES = {"learning_rate": "0.01,0.03,0.1,0.3"}
SMALL = {"epochs": "15"}

EMBEDDINGS = {
    "objective": Declared(
        "word2vec",
        "Which objective makes the better vectors: skip-gram, CBOW or the next word; by negative "
        "sampling, a Huffman tree or the full softmax?",
        vary={},
        arms={
            "skip_gram": {"context": "skip_gram"},
            "cbow_mean": {"context": "cbow_mean"},
            "cbow_sum": {"context": "cbow_sum"},
            "next_word": {"context": "next_word"},
            "skip_gram_tree": {"context": "skip_gram", "output": "hierarchical"},
            "cbow_tree": {"context": "cbow_mean", "output": "hierarchical"},
            "cbow_softmax": {"context": "cbow_mean", "output": "softmax"},
        },
        tune=MORE_RATES,
        config=SMALL,
        seeds=5,
    ),
    "window": Declared(
        "word2vec",
        "How far should a word look?",
        vary={"window": "5,1,2,10"},
        tune=RATES,
        config=SMALL,
        seeds=5,
    ),
    "dimension": Declared(
        "word2vec",
        "How many numbers does a word need?",
        vary={"dimension": "100,10,30,300"},
        tune=RATES,
        config=SMALL,
        seeds=5,
    ),
    "negatives": Declared(
        "word2vec",
        "How many drawn words should each prediction be told from?",
        vary={"negatives": "5,1,2,15"},
        tune=RATES,
        config=SMALL,
        seeds=5,
    ),
    "subsampling": Declared(
        "word2vec",
        "Should frequent words be thinned out, and how much?",
        vary={"sample": "1e-3,0,1e-2,1e-4"},
        tune=MORE_RATES,
        config=SMALL,
        seeds=5,
    ),
}
