"""The paper's table: what its source says, in one unit, and part of the wheel."""

from __future__ import annotations

import csv
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / "baselines" / "published"
TABLE = FOLDER / "compressed_trust.csv"
IN_WHEEL = "trust_tests/data/published/compressed_trust.csv"
TRUST = ("toxicity", "stereotype", "adversarial", "ood", "adv_demo", "privacy", "ethics", "fairness")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def sheet() -> Path:
    data = Path(os.environ.get("TRUST_DATA_DIR", CHECKOUT.parent / "shared" / "data"))
    path = data / "published" / "num_sheet.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there; TRUST_DATA_DIR names the folder that holds published/num_sheet.csv")
    return path


def test_the_average_is_the_mean_of_eight_trust_scores_and_mmlu(rows: list[dict[str, str]]) -> None:
    assert len(rows) == 50
    for row in rows:
        mean = sum(float(row[name]) for name in (*TRUST, "mmlu")) / 9
        # Nine rounded scores and a rounded mean: each may be off by half of the last digit.
        assert float(row["average"]) == pytest.approx(mean, abs=0.1), row["revision"]


def test_scores_and_refusal_rates_are_percent(rows: list[dict[str, str]]) -> None:
    for row in rows:
        for name in (*TRUST, "mmlu", *(f"{name}_refusals" for name in TRUST)):
            assert 0 <= float(row[name]) <= 100
    # Were they still fractions, none could be above 1.
    for name in ("toxicity", "fairness"):
        rates = {float(row[f"{name}_refusals"]) for row in rows}
        assert max(rates) >= 50
        assert all(rate % 10 == 0 for rate in rates)


def test_every_model_is_named_once(rows: list[dict[str, str]]) -> None:
    keys = ("model", "method", "bits", "pattern", "seed")
    assert len({tuple(row[key] for key in keys) for row in rows}) == 50
    assert sum(row["method"] == "dense" for row in rows) == len({row["model"] for row in rows}) == 7
    for row in rows:
        quantised, pruned = row["method"] in ("gptq", "awq"), row["method"] in ("magnitude", "sparsegpt", "wanda")
        assert (bool(row["bits"]), bool(row["pattern"])) == (quantised, pruned)


@pytest.mark.parametrize(
    ("revision", "expected"),
    [
        ("0.5_2to4_seed2", {"method": "sparsegpt", "pattern": "2:4", "seed": "2", "toxicity": "68.3"}),
        ("3bit_128g_1seed", {"method": "gptq", "bits": "3", "template": "llama-2", "stereotype_refusals": "89.7"}),
        ("4bit_128g_seed0_llama-2", {"seed": "0", "template": "llama-2", "mmlu": "62.2"}),
        ("", {"method": "dense", "average": "70.6", "toxicity_refusals": "70.0"}),
    ],
)
def test_known_rows(rows: list[dict[str, str]], revision: str, expected: dict[str, str]) -> None:
    assert [row for row in rows if row["revision"] == revision and expected.items() <= row.items()]


def test_the_table_is_what_the_script_makes_of_the_published_sheet(sheet: Path) -> None:
    (stated,) = re.findall(r"`([0-9a-f]{64})`", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert hashlib.sha256(sheet.read_bytes()).hexdigest() == stated
    command = [sys.executable, str(FOLDER / "convert.py"), str(sheet)]
    made = subprocess.run(command, capture_output=True, check=True).stdout
    assert made == TABLE.read_bytes()


def build(kind: str, source: Path, target: Path) -> Path:
    """The source distribution or wheel of a tree, made by the installed setuptools without any network."""
    code = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(target)], cwd=source, check=True, capture_output=True)
    (made,) = target.iterdir()
    return made


@pytest.mark.skipif(int(version("setuptools").partition(".")[0]) < 77, reason="building needs setuptools 77 or newer")
def test_a_wheel_carries_the_table_where_the_program_looks_for_it(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("trust_tests", "compressors", "baselines/published"):
        shutil.copytree(CHECKOUT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    for name in ("sdist", "wheel"):
        (tmp_path / name).mkdir()
    # By way of the source distribution, as publishers do.
    shutil.unpack_archive(build("sdist", source, tmp_path / "sdist"), tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    wheel = build("wheel", unpacked, tmp_path / "wheel")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(IN_WHEEL) == TABLE.read_bytes()
        tops = {name.partition("/")[0] for name in archive.namelist()}
        assert {top for top in tops if not top.endswith(".dist-info")} == {"trust_tests", "compressors"}
        archive.extractall(tmp_path / "installed")
    ask = (
        "import sys; from trust_tests.report import published as p;"
        "assert p.__file__.startswith(sys.argv[1]), p.__file__;"
        "print(len(p.published_table()), len(p.published_results('llama2-13b-chat', 'awq:bits=3')))"
    )
    found = subprocess.run(
        [sys.executable, "-c", ask, str(tmp_path / "installed")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["50", "3"]
