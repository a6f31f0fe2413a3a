"""Declared studies of recurrent nets: what they remember, and what each of their parts is for."""

from experiments.studies.declared import Declared

ADDING = {
    "length": "40",
    "width": "32",
    "train_rows": "10000",
    "test_rows": "1000",
    "epochs": "5",
}
RATES = "1e-3,3e-3,1e-2,3e-2,1e-1,3e-1"
PENALISED = {
    "dataset": "mnist1d",
    "train_size": "1000",
    "cell": "gru",
    "width": "32",
    "epochs": "40",
}

RECURRENT = {
    "memory_length": Declared(
        "memory",
        "Does a plain recurrent net forget, and do gates help, as sequences grow?",
        vary={"cell": "rnn,lstm,gru", "length": "20,40,80"},
        tune={"learning_rate": RATES},
        config=ADDING,
        seeds=5,
    ),
    "forget_bias": Declared(
        "memory",
        "Should the forget gate of an LSTM begin open? (the adding task, 80 steps)",
        vary={"forget_bias": "0,1,2,4"},
        tune={"learning_rate": "3e-3,1e-2,3e-2,1e-1"},
        config=ADDING | {"length": "80"},
        seeds=10,
        diagnose=True,
    ),
    "gates": Declared(
        "memory",
        "Which gate of an LSTM can be left out?",
        vary={"without": "none,input,forget,output"},
        tune={"learning_rate": RATES},
        config=ADDING,
        seeds=10,
    ),
    "recurrent_dropout": Declared(
        "sequence_classifier",
        "Where does dropout help a recurrent net: on what a layer gives, on its state, or on the "
        "state's weights?",
        vary={"dropout": "none,0.3", "state_dropout": "none,0.3", "weight_dropout": "none,0.3"},
        tune={"learning_rate": "3e-3,1e-2,3e-2,1e-1"},
        config=PENALISED,
        seeds=10,
    ),
    "recurrent_activations": Declared(
        "memory",
        "Which activation and which first weights let a plain recurrent net remember 40 steps?",
        vary={"activation": "tanh,relu", "recurrent_init": "orthogonal,identity"},
        tune={"learning_rate": "1e-4,3e-4,1e-3,3e-3,1e-2,3e-2"},
        config=ADDING | {"cell": "rnn"},
        seeds=10,
    ),
}
