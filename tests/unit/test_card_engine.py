"""Which parts of a model card belong to which engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from l1dl.card import load_card
from l1dl.errors import InputError

CARD = """
name = "net"
[data]
file = "jets.h5"
inputs = "scaled"
[model]
engine = "hgq2"
hidden = [8]
[quantisation]
input = { bits = 12, integer = 3 }
[hgq2]
ebops = 100
"""


def load(tmp_path: Path, text: str) -> object:
    path = tmp_path / "model.toml"
    path.write_text(text)
    return load_card(path)


def test_a_card_for_hgq2_needs_no_types_of_constants(tmp_path):
    card = load(tmp_path, CARD)
    assert card.hgq2.steer
    assert card.quantisation.weight is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CARD.replace("[hgq2]\nebops = 100", ""), r"section \[hgq2\] is missing, and model.engine is \"hgq2\""),
        (CARD.replace("ebops = 100", ""), r"key 'hgq2.ebops' is missing"),
        (CARD + "ebop = 3\n", r"unknown key 'hgq2.ebop'; did you mean 'ebops'"),
        (CARD + "beta = [1e-3, 1e-5]\n", r"beta = \[0.001, 1e-05\] goes down"),
        (CARD.replace("integer = 3 }", "integer = 3 }\nweight = { bits = 6 }"), r"quantisation.weight has no meaning"),
        (CARD + "[training]\nsparsity = 0.5\n", r"training.sparsity has no meaning with engine = \"hgq2\""),
        (CARD + "[training]\nbackend = 'tensorflow'\n", r"training.backend = \"tensorflow\" with engine = \"hgq2\""),
        (CARD.replace('"hgq2"', '"qkeras"'), r"quantisation.activation is missing, and model.engine is \"qkeras\""),
        (
            CARD.replace("hidden = [8]", '[[model.layers]]\nkind = "dense"\nunits = 3\nbias = { bits = 3 }'),
            r"bias of dense_0 has no meaning",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_engine_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load(tmp_path, text)


def test_types_of_both_engines_exclude_each_other(tmp_path):
    types = "weight = { bits = 6 }\nbias = { bits = 6 }\nactivation = { bits = 6, integer = 1 }\n"
    text = CARD.replace('"hgq2"', '"qkeras"').replace("[hgq2]", f"{types}[hgq2]")
    with pytest.raises(InputError, match=r"a section \[hgq2\] is given, and model.engine is \"qkeras\""):
        load(tmp_path, text)
