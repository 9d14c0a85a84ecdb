from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from trust_tests.__main__ import main
from trust_tests.dimensions import dimension_names, get_dimension
from trust_tests.simulation import calibration
from trust_tests.simulation.binary import Rates
from trust_tests.simulation.calibration import Calibration, Place, exact_grid, look_table, requirements, tier_cases
from trust_tests.simulation.looks import stopping
from trust_tests.simulation.page import lines, page
from trust_tests.simulation.structure import Skeleton


@pytest.fixture(scope="module")
def exact() -> tuple[Place, ...]:
    return exact_grid((50, 100, 200, 400, 1500))


@pytest.fixture(scope="module")
def found(exact: tuple[Place, ...]) -> Calibration:
    return Calibration(30, exact, (), look_table(), {})


def test_the_grid_keeps_every_promise(found: Calibration) -> None:
    """Exact, so no luck is involved: false PASS at most 5 %, coverage 93-97 %, unchanged suites green."""
    checks = requirements(found)
    assert len(checks) == 5
    assert [check.promise for check in checks if not check.met] == []


def test_a_broken_promise_shows(found: Calibration) -> None:
    bad = Rates({"point": 0.5, "equivalence": 0.2}, {"point": 0.5, "equivalence": 0.1}, 0.8, 0.8)
    place = next(p for p in found.exact if p.shift == -5.0)
    broken = replace(found, exact=(*found.exact, replace(place, rates=bad)), resampled=(replace(place, rates=bad),))
    missed = [check for check in requirements(broken) if not check.met]
    assert len(missed) == 4
    assert "20.0 %" in missed[0].found
    assert any("NO" in line for line in lines(broken))


def test_early_looks_stop_the_hopeless_and_hardly_anything_else() -> None:
    unchanged, limit, hopeless = (stopping(1500, 0.2, shift, 4000) for shift in (0.0, -5.0, -20.0))
    assert unchanged.stopped == 0
    assert limit.stopped <= 0.05
    assert hopeless.stopped > 0.99
    assert hopeless.asked < 0.4
    assert unchanged.asked == 1.0
    assert hopeless.red == 1.0


def test_a_tier_is_simulated_dimension_by_dimension() -> None:
    dimension = get_dimension("mmlu")
    said: list[str] = []
    with ProcessPoolExecutor(1) as pool:
        cases = tier_cases("smoke", [Skeleton.of(dimension, dimension.items())], 20, pool, said.append)
    assert said[-1] == "tier smoke: 12/12 cases, mmlu"
    assert {case.dimension for case in cases} == {"mmlu"}
    assert [case.rates is None for case in cases if case.disagreement == 0.02] == [False, True, True, True]


@pytest.mark.slow
def test_the_command_writes_tables_json_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The small end of the grids is enough to see every table.
    monkeypatch.setattr(calibration, "ITEMS", (100, 1500))
    monkeypatch.setattr(calibration, "RESAMPLED_ITEMS", (50,))
    monkeypatch.setattr(calibration, "LOOK_SIMULATIONS", 2000)
    arguments = ["calibrate", "--dimension", "mmlu", "--simulations", "12", "--jobs", "1"]
    status = main([*arguments, "-o", str(tmp_path / "c.json"), "--markdown", str(tmp_path / "c.md")])
    shown = capsys.readouterr()
    assert status in (0, 1)
    assert "WHAT THE GATE PROMISES" in shown.out
    assert "tier smoke: 12/12 cases, mmlu" in shown.err
    document = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert document["schema"] == "trust-gate/calibration"
    assert (status == 0) is all(check["met"] for check in document["requirements"])
    text = (tmp_path / "c.md").read_text(encoding="utf-8")
    assert "python -m trust_tests calibrate --simulations 12 --tier smoke --dimension mmlu" in text
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dimension", "kindness"], "kindness"),
        (["--tier", "pr", "--data", "nowhere"], "no such folder"),
        (["-o", "nowhere/c.json"], "no folder 'nowhere'"),
        (["--markdown", "."], "a folder; give a file"),
        (["--tier", "release", "--data", ".", "--partial", "--dimension", "adversarial"], "nothing would be simulated"),
    ],
)
def test_wrong_input_is_one_line(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["calibrate", *arguments]) == 2
    error = [line for line in capsys.readouterr().err.strip().splitlines() if not line.startswith("not asked: ")]
    assert message in error[-1]
    assert len(error) == 1


def test_the_page_of_a_tier_says_how_often_an_unchanged_suite_is_green(found: Calibration) -> None:
    dimensions = [get_dimension(name) for name in dimension_names()[:2]]
    skeletons = [Skeleton.of(dimension, dimension.items()) for dimension in dimensions]
    with ProcessPoolExecutor(1) as pool:
        cases = tier_cases("release", skeletons, 10, pool, lambda text: None)
    whole = replace(found, tiers={"release": cases}, notes=("Tier release: ood is left out, its files are absent.",))
    text = page(whole, "the command", "a machine")
    assert "in all 2 dimensions at once" in text
    assert "ood is left out" in text
    assert any(check.promise.startswith("tier release: an unchanged model") for check in requirements(whole))
    assert json.loads(json.dumps(whole.as_dict(), allow_nan=False))["tiers"]["release"]
