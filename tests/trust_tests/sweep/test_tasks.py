"""Specification → tasks: names, keys, arguments, and the settings they give."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trust_tests.options import OPTIONS
from trust_tests.sweep.child import ROOT, gate_arguments
from trust_tests.sweep.spec import SpecError, read_spec
from trust_tests.sweep.tasks import Task, dense_of, plan, settings_of, task_options

RECIPE = "recipes: ['magnitude:pattern=2:4']\n"


def planned(folder: Path, text: str, *, several_machines: bool = False) -> list[Task]:
    (folder / "sweep.yaml").write_text(text)
    return plan(read_spec(folder / "sweep.yaml"), folder / "out", several_machines=several_machines)


def test_every_model_is_asked_before_its_variants(tasks: list[Task]) -> None:
    assert [task.id for task in tasks] == [
        "embedded/dense",
        "embedded/magnitude-2:4",
        "embedded/gptq-4bit-g128-s0",
        "org/other/dense",
        "org/other/wanda-2:4-s0",
    ]
    assert [dense_of(task, tasks) for task in tasks] == [None, tasks[0], tasks[0], None, tasks[3]]
    assert [task.dense for task in tasks] == [True, False, False, True, False]


def test_folders_are_apart_whatever_the_names(tmp_path: Path) -> None:
    names = ["a/b", "a:b", "a_b", "A_B", "..", "...", "ü", "x" * 300]
    models = "".join(f"- {{model: embedded, name: '{name}'}}\n" for name in names)
    tasks = planned(tmp_path, f"models:\n{models}{RECIPE}")
    folders = [str(task.folder) for task in tasks]
    assert len({folder.casefold() for folder in folders}) == len(folders) == 16
    for task in tasks:
        assert task.folder.resolve() == task.folder
        assert task.folder.parent.parent == tmp_path / "out" / "runs"
        assert max(map(len, task.folder.parts)) <= 90


def test_a_task_says_on_its_command_line_all_that_the_file_says(tmp_path: Path) -> None:
    options = "options: {tier: pr, data: ., items: 7, aa: true, one-sided: false}\n"
    task = planned(tmp_path, f"models: [embedded]\n{RECIPE}cache: c\n{options}")[1]
    settings = settings_of(task_options(task), tmp_path)
    assert (settings.tier, settings.items, settings.aa, settings.one_sided) == ("pr", 7, True, False)
    assert (settings.model, settings.recipes, settings.variants) == ("embedded", (task.source,), ())
    assert task.source.startswith("magnitude:pattern=2:4,")
    assert (settings.cache, settings.answers, settings.results) == (tmp_path / "c", None, task.folder)
    assert settings.data == tmp_path / "."


def test_one_test_module_per_dimension_and_no_configuration_of_the_callers() -> None:
    arguments = gate_arguments(("ethics", "mmlu"), ["--trust-items=1"])
    assert arguments[:4] == ["gate", "--pyargs", "trust_tests.test_ethics", "trust_tests.test_mmlu"]
    assert f"--rootdir={ROOT}" in arguments
    assert (ROOT / "trust_tests" / "test_ethics.py").is_file()
    ini = Path(arguments[arguments.index("-c") + 1])
    assert ini.read_text().startswith("[pytest]\n#")


def test_several_machines_share_no_file_of_answers(tmp_path: Path) -> None:
    tasks = planned(tmp_path, f"models: [embedded, org/other]\n{RECIPE}cache: c\n", several_machines=True)
    answers = [task.answers for task in tasks]
    assert len(set(answers)) == 4
    assert all(folder is not None and folder.is_relative_to(tmp_path / "c" / "answers") for folder in answers)
    assert all(settings_of(task_options(task), tmp_path).answers == task.answers for task in tasks)


def test_the_key_follows_everything_that_moves_the_outcome(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    text = f"models: [./model]\n{RECIPE}dimensions: [ethics]\n"
    key = planned(tmp_path, text)[1].key
    assert planned(tmp_path, text + "cache: elsewhere\nresources: {cpus: 2}\n")[1].key == key
    others = {
        "dense": planned(tmp_path, text)[0].key,
        "dimension": planned(tmp_path, text.replace("ethics", "mmlu"))[1].key,
        "option": planned(tmp_path, text + "options: {items: 3}\n")[1].key,
        "recipe": planned(tmp_path, text.replace("2:4", "4:8"))[1].key,
    }
    os.utime(model / "config.json", ns=(1, 1))
    others["file"] = planned(tmp_path, text)[1].key
    assert len({key, *others.values()}) == len(others) + 1


def test_a_recorded_baseline_needs_no_dense_task(tmp_path: Path) -> None:
    (tmp_path / "dense.json").write_text("{}")
    tasks = planned(tmp_path, f"models: [embedded]\n{RECIPE}options: {{baseline: dense.json}}\n")
    assert [task.variant for task in tasks] == ["magnitude-2:4"]
    assert dense_of(tasks[0], tasks) is None
    assert settings_of(task_options(tasks[0]), tmp_path).baseline == str(tmp_path / "dense.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("options: {protocol: paper}\n", "line 1, models[0]: --trust-protocol='paper': asks the published benchmark"),
        ("options: {items: none}\n", "line 1, models[0]: --trust-items='none'"),
        ("options: {data: gone}\n", "line 1, models[0]: --trust-data='gone': no such folder"),
        ("options: {tensor-parallel: 2}\n", "only the engine vllm"),
        (
            "options: {engine: vllm, tensor-parallel: 2}\nresources: {gpus: 1}\n",
            "resources.gpus 1: tensor-parallel 2 needs as many",
        ),
    ],
)
def test_options_that_do_not_go_together_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        planned(tmp_path, f"models: [embedded]\n{RECIPE}{text}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tensor_parallel_asks_for_its_gpus(tmp_path: Path) -> None:
    tasks = planned(tmp_path, f"models: [embedded]\n{RECIPE}options: {{engine: vllm, tensor-parallel: 2}}\n")
    assert [task.resources.gpus for task in tasks] == [2, 2]


def test_what_the_sweep_decides_itself_is_an_option_of_the_gate() -> None:
    from trust_tests.sweep.spec import _OWN

    assert set(_OWN) <= {option.name for option in OPTIONS}
