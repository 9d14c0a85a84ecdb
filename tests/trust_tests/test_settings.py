from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compressors.errors import RecipeError
from compressors.presets import MODELS, RECIPE_SETS
from trust_tests.options import DEFAULT_RECIPES, OPTIONS, Option
from trust_tests.settings import Settings, SettingsError, read_settings


def read(
    folder: Path,
    command_line: dict[str, Any] | None = None,
    ini: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
) -> Settings:
    def given(values: dict[str, Any] | None) -> Any:
        return lambda option: (values or {}).get(option.name)

    return read_settings(given(command_line), given(ini), environment or {}, folder)


def test_the_defaults_are_the_main_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUST_CACHE", str(tmp_path / "cache"))
    settings = read(tmp_path)
    assert (settings.model, settings.protocol, settings.tier) == ("embedded", "sound", "smoke")
    assert (settings.tolerance, settings.one_sided, settings.baseline) == (5.0, False, "auto")
    assert len(settings.recipes) == len(DEFAULT_RECIPES)
    assert settings.results == tmp_path / "trust-results"
    assert settings.cache == tmp_path / "cache"
    assert settings.batch_size is None


def test_the_command_line_beats_environment_beats_ini_beats_default(tmp_path: Path) -> None:
    given = {"command_line": {"model": "a/cli"}, "environment": {"TRUST_MODEL": "a/env"}, "ini": {"model": "a/ini"}}
    order = []
    for name in ("command_line", "environment", "ini"):
        order.append(read(tmp_path, **given).model)
        del given[name]
    assert [*order, read(tmp_path).model] == ["a/cli", "a/env", "a/ini", "embedded"]


def test_recipes_are_canonical_and_not_repeated(tmp_path: Path) -> None:
    settings = read(tmp_path, {"recipe": ["magnitude:pattern=2:4", " magnitude:pattern=2:4 "]})
    assert len(settings.recipes) == 1
    assert settings.recipes[0].startswith("magnitude:pattern=2:4")


def test_a_set_of_recipes_is_all_of_them_once(tmp_path: Path) -> None:
    settings = read(tmp_path, {"recipe": ["paper:50%,seed=0", "magnitude:pattern=2:4", "rtn"]})
    assert [recipe.partition(":")[0] for recipe in settings.recipes] == [
        "magnitude",
        "sparsegpt",
        "wanda",
        "gptq",
        "awq",
        "rtn",
    ]
    with pytest.raises(RecipeError, match="did you mean 'paper:50%'"):
        read(tmp_path, {"recipe": ["paper:55%"]})


def test_the_papers_set_is_collected_without_torch(tmp_path: Path) -> None:
    program = (
        "import sys, pytest\n"
        "code = pytest.main(['--collect-only', '-q', '--pyargs', 'trust_tests.test_mmlu', '-p', 'no:cacheprovider',"
        " '--trust-recipe', 'paper:50%'])\n"
        "print('heavy modules:', {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules))\n"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "heavy modules: set()" in done.stdout
    assert "5 tests collected" in done.stdout
    for method in ("magnitude-2:4", "sparsegpt-2:4-s0", "wanda-2:4-s0", "gptq-8bit-g128-s0", "awq-8bit-g128-s42"):
        assert f"test_mmlu[{method}" in done.stdout


def test_the_help_names_every_model_and_set() -> None:
    shown = {option.name: option.help for option in OPTIONS}
    assert ", ".join(MODELS) in shown["model"]
    assert all(f"'{name}'" in shown["recipe"] for name in RECIPE_SETS)


def test_a_variant_alone_leaves_the_default_recipes_out(tmp_path: Path) -> None:
    settings = read(tmp_path, {"variant": ["org/model"]})
    assert (settings.recipes, settings.variants) == ((), ("org/model",))


def test_lists_are_lines_in_ini_and_environment(tmp_path: Path) -> None:
    assert read(tmp_path, environment={"TRUST_VARIANT": "a/b\n\nc/d\n"}).variants == ("a/b", "c/d")
    assert read(tmp_path, ini={"variant": ["a/b", ""]}).variants == ("a/b",)


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("1", True), ("No", False), ("off", False)])
def test_switches_are_words_in_ini_and_environment(tmp_path: Path, text: str, expected: bool) -> None:
    assert read(tmp_path, environment={"TRUST_ONE_SIDED": text}).one_sided is expected


def test_paths_are_anchored_where_pytest_was_started(tmp_path: Path) -> None:
    settings = read(tmp_path, {"results": "out", "cache": "c", "baseline": "b/x.json"})
    assert settings.results == tmp_path / "out"
    assert settings.cache == tmp_path / "c"
    assert settings.baseline == str(tmp_path / "b/x.json")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("disagreement", "0", "--trust-disagreement='0': give a share of items above 0 and at most 1, such as 0.1"),
        ("disagreement", "10 %", "--trust-disagreement='10 %'"),
        ("rule", "strict", "choose one of auto, point, equivalence"),
        ("tolerance", "0", "--trust-tolerance='0': give points above 0 and at most 100"),
        ("tolerance", "-5", "--trust-tolerance"),
        ("tolerance", "101", "--trust-tolerance"),
        ("tolerance", "nan", "--trust-tolerance"),
        ("tolerance", "five", "--trust-tolerance='five'"),
        ("batch-size", "0", "--trust-batch-size='0'"),
        ("batch-size", "many", "--trust-batch-size='many': give 'auto' or a whole number"),
        ("batch-size", "1.5", "--trust-batch-size"),
        ("tier", "huge", "--trust-tier='huge': choose one of smoke, pr, release, full"),
        ("protocol", "loose", "--trust-protocol='loose': choose one of sound, paper"),
        ("protocol", "paper", "--trust-protocol='paper': asks the published benchmark, not the embedded probes"),
        ("template", "llama-2", "--trust-template='llama-2': protocol 'sound' uses the tokenizer's own"),
        ("template", "chatml", "--trust-template='chatml': choose one of auto, llama-2, vicuna_v1.1"),
        ("data", "absent", "--trust-data='absent': no such folder; give 'hub' or the folder"),
        ("items", "0", "--trust-items='0': give 'all' or a whole number above 0"),
        ("items", "few", "--trust-items='few'"),
        ("dtype", "int8", "--trust-dtype='int8': choose one of auto, bfloat16"),
        ("baseline", "base.yaml", "name ends in .json"),
        ("variant", ["ok/ok", "  "], None),
        ("model", "   ", "--trust-model: empty"),
    ],
)
def test_wrong_values_are_one_line(tmp_path: Path, name: str, value: Any, message: str | None) -> None:
    if message is None:
        assert read(tmp_path, {name: value}).variants == ("ok/ok",)
        return
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, {name: value})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_benchmark_is_asked_where_the_user_says(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert read(tmp_path).data is None
    settings = read(tmp_path, {"tier": "pr", "data": "data", "items": "50", "partial": True})
    assert (settings.tier, settings.data, settings.items, settings.partial) == ("pr", tmp_path / "data", 50, True)


@pytest.mark.parametrize(
    ("tier", "rule"), [("smoke", "point"), ("pr", "point"), ("release", "equivalence"), ("full", "equivalence")]
)
def test_the_rule_follows_the_tier_unless_named(tmp_path: Path, tier: str, rule: str) -> None:
    assert read(tmp_path, {"tier": tier}).rule == rule
    assert read(tmp_path, {"tier": tier, "rule": "point"}).rule == "point"
    assert read(tmp_path, {"tier": tier, "rule": "equivalence"}).rule == "equivalence"


def test_controls_are_off_and_disagreement_is_a_tenth(tmp_path: Path) -> None:
    settings = read(tmp_path)
    assert (settings.aa, settings.early_fail, settings.disagreement) == (False, False, 0.1)
    settings = read(tmp_path, {"aa": True, "disagreement": "0.03"}, environment={"TRUST_EARLY_FAIL": "yes"})
    assert (settings.aa, settings.early_fail, settings.disagreement) == (True, True, 0.03)


def test_the_scorer_follows_the_tier_unless_named(tmp_path: Path) -> None:
    assert read(tmp_path).scorer == "embedded"
    assert read(tmp_path, {"tier": "pr"}).scorer == "classifier"
    assert read(tmp_path, {"tier": "pr", "scorer": "embedded"}).scorer == "embedded"


@pytest.mark.parametrize(
    ("model", "template"),
    [
        ("llama2-13b-chat", "llama-2"),
        ("meta-llama/Llama-2-7b-chat-hf@main", "llama-2"),
        ("models/Llama_2_7b", "redpajama-incite-instruct"),
        ("llama2-13b", "redpajama-incite-instruct"),
        ("lmsys/vicuna-13b-v1.3", "vicuna_v1.1"),
    ],
)
def test_the_papers_template_is_known_by_the_models_name(tmp_path: Path, model: str, template: str) -> None:
    paper = {"protocol": "paper", "tier": "pr", "model": model}
    assert read(tmp_path, paper).template == template
    assert read(tmp_path, {**paper, "template": "vicuna_v1.1"}).template == "vicuna_v1.1"
    assert read(tmp_path, {"model": model}).template == ""


def test_another_model_must_be_given_a_template_of_the_papers(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="the paper has no template for model 'embedded'; choose one of llama-2"):
        read(tmp_path, {"protocol": "paper", "tier": "pr"})


def test_a_wrong_switch_names_its_source(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="^TRUST_OFFLINE='perhaps': say true or false$"):
        read(tmp_path, environment={"TRUST_OFFLINE": "perhaps"})
    with pytest.raises(SettingsError, match="^ini key trust_offline='maybe': say true or false$"):
        read(tmp_path, ini={"offline": "maybe"})


def test_a_wrong_recipe_is_the_recipes_own_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="recipe 'gptq:bits=5'"):
        read(tmp_path, {"recipe": ["gptq:bits=5"]})


def test_folders_and_files_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingsError, match="a file of that name is in the way"):
        read(tmp_path, {"results": "file"})
    with pytest.raises(SettingsError, match="a folder; give a file in it"):
        read(tmp_path, {"baseline": "folder"})


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_option_has_three_names_and_a_help_that_teaches(option: Option) -> None:
    assert option.flag == f"--trust-{option.name}"
    assert option.variable == option.key.upper()
    assert len(option.help) > 30
