"""Options: what the command line spells is the value the nets get."""

import pytest

from nets.activations import ACTIVATIONS
from nets.initializers import INITIALIZERS
from nets.options import parse_option


@pytest.mark.parametrize("table", [ACTIVATIONS, INITIALIZERS], ids=["activations", "initializers"])
def test_every_entry_is_read_back_from_its_own_spelling(table):
    for name, option in table.items():
        assert option.name == name
        assert parse_option(str(option), table) == option
        assert hash(parse_option(str(option), table)) == hash(option)


def test_numbers_replace_the_defaults_and_nothing_else():
    option = parse_option(" leaky_relu:0.2 ", ACTIVATIONS)
    assert option.parameters == (0.2,)
    assert option.function is ACTIVATIONS["leaky_relu"].function
    assert option != ACTIVATIONS["leaky_relu"]
    assert str(option) == "leaky_relu:0.2"
    assert parse_option("leaky_relu", ACTIVATIONS).parameters == (0.01,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rleu", "did you mean 'relu'"),
        ("zzzzzz", "known: identity, sigmoid"),
        ("relu:1", r"'relu' takes 0 number\(s\), not 1"),
        ("leaky_relu:1:2", r"takes 1 number\(s\), not 2"),
        ("leaky_relu:x", "must be numbers"),
        ("leaky_relu:", "must be numbers"),
        ("maxout:2.5", "maxout takes a whole number of pieces, at least 1, not 2.5"),
        ("maxout:0", "whole number of pieces, at least 1, not 0"),
        ("maxout:nan", "numbers must be finite"),
        ("elu:1e400", "numbers must be finite"),
        ("celu:0", "celu takes a positive number, not 0"),
        ("celu:-0.5", "celu takes a positive number, not -0.5"),
    ],
)
def test_a_mistake_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        parse_option(text, ACTIVATIONS)
