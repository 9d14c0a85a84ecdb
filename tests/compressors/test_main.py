"""The command line."""

from __future__ import annotations

import json

import pytest

from compressors.__main__ import main


def test_compress_and_audit(dense, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [str(dense.path), "rtn:bits=4,group=32", str(out), "--cache", str(tmp_path / "cache"), "--threads", "1"]
    assert main(["compress", *arguments]) == 0
    made = capsys.readouterr()
    assert "layers           14 of 14 compressed" in made.out
    assert "model.layers.1  2/2" in made.err
    assert main(["audit", str(out)]) == 0
    assert capsys.readouterr().out == made.out
    assert main(["audit", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bits"] == 4
    assert main(["compress", *arguments]) == 2
    assert capsys.readouterr().err == f"error: {out}: exists and is not an empty folder; choose another\n"


def test_an_audit_with_problems_exits_with_1(dense, tmp_path, capsys):
    config = json.loads((dense.path / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((dense.path / "model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    assert main(["audit", str(tmp_path)]) == 1
    assert "PROBLEM          config.json claims gptq, but no layer is quantised" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["compress", "MODEL", "gptq:bits=5", "OUT"], "error: recipe 'gptq:bits=5': bits must be 2, 3, 4 or 8"),
        (["compress", "nowhere/", "rtn", "OUT"], "error: model 'nowhere/': neither an existing folder nor a hub id"),
        (["compress", "MODEL", "rtn", "OUT", "--threads", "0"], "error: --threads 0: give a number of at least 1"),
        (["compress", "MODEL", "rtn", "OUT", "--device", "cuda:77"], "error: device 'cuda:77': not on this machine"),
        (["compress", "MODEL", "gptq:samples=60000", "OUT"], "error: calibration builtin: "),
        (["compress", "MODEL", "rtn", "FILE/x"], "error: "),
        (["audit", "nowhere"], "error: nowhere: no such folder"),
        (["audit", "EMPTY"], "error: model 'empty': no config.json"),
    ],
)
def test_errors_are_one_line_and_exit_with_2(dense, tmp_path, capsys, arguments, complaint):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    places = {"MODEL": dense.path, "OUT": tmp_path / "out", "EMPTY": tmp_path / "empty"}
    places["FILE/x"] = tmp_path / "file" / "x"
    assert main([str(places.get(a, a)) for a in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(complaint)
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [["--help"], ["compress", "--help"]])
def test_the_help_explains_every_method_and_parameter(capsys, monkeypatch, arguments):
    from compressors import helptext
    from compressors.methods import BUILT_IN

    monkeypatch.setattr(helptext, "method_names", lambda: (*BUILT_IN, "halve"))
    monkeypatch.setenv("COLUMNS", "72")
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed[printed.index("recipes:") : printed.index("examples:")].splitlines())) <= 72
    text = " ".join(printed.split())
    for method in BUILT_IN.values():
        assert method.summary in text
        assert all(parameter.help in text for parameter in method.parameters)
    assert "from other packages: halve" in text
