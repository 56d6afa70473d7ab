"""`l1dl deploy --type`: a plain model with types of the user's own, without calibration data."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import need_packages, need_tools
from tiny import PACKAGES

from l1dl.cli.app import invoke
from l1dl.graph import load_graph
from l1dl.models.backend import import_keras


@pytest.fixture
def model(tmp_path: Path) -> Path:
    need_packages(*PACKAGES)
    keras = import_keras()
    keras.utils.set_random_seed(6)
    x = inputs = keras.Input((4,), name="x")
    x = keras.layers.Dense(5, activation="relu", name="hidden")(x)
    model = keras.Model(inputs, keras.layers.Dense(2, bias_initializer="he_normal", name="last")(x), name="plain")
    model.save(tmp_path / "plain.keras")
    return tmp_path / "plain.keras"


def test_a_model_with_types_is_proved_without_calibration_data(model: Path, tmp_path: Path) -> None:
    need_tools("cxx")
    types = tmp_path / "types.toml"
    types.write_text(
        'x = "fixed<7,3,RND_ZERO,SAT_SYM>"\n'
        '[hidden]\nresult = "ufixed<6,3>"\nweight = "fixed<5,1,RND_CONV,SAT>"\nbias = "fixed<5,1>"\n'
        '[last]\nresult = "fixed<9,1>"\n'
    )
    options = ["--types", types, "--type", "last=ap_fixed<7,3,AP_TRN_ZERO,AP_SAT_ZERO>", "--random-vectors", "300"]
    out = tmp_path / "out"
    assert invoke(["deploy", *map(str, [model, *options, "--out", out, "--until", "emulate"])]) == 0
    graph = load_graph(out / "convert" / "graph.json")
    assert str(graph["x"].result) == "fixed<7,3,RND_ZERO,SAT_SYM>"
    assert str(graph["hidden_relu_quantised"].result) == "ufixed<6,3>"
    assert str(graph["last_quantised"].result) == "fixed<7,3,TRN_ZERO,SAT_ZERO>"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--type", "hidden"], ["'hidden'", "LAYER[.PART]=TYPE"]),
        (["--type", "hiden=fixed<8,3>"], ["'hiden'", "did you mean 'hidden'?"]),
        (["--type", "hidden=fix<8,3>"], ["'hidden'", "'fix<8,3>' is no fixed-point type"]),
        (["--type", "hidden=fixed<30,3>"], ["'hidden'", "30 bits", "float32"]),
        (["--type", "hidden=fixed<8,3>"], ["for the values of 'x'", "--calibration"]),
        (["--types", "none.toml"], ["file of types not found: none.toml"]),
    ],
)
def test_wrong_types_are_one_line(
    options: list[str], words: list[str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert invoke(["deploy", str(model), *options, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    assert all(word in error for word in words), error
    assert not (tmp_path / "out").exists()
