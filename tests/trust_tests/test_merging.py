"""Joined shards say what one run would have said; what cannot be joined is refused, what is missing is an ERROR."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trust_tests.__main__ import main
from trust_tests.merging import MergeError, merge_results
from trust_tests.report.results import Plan, assemble, failed_record, load_results, outcomes_file
from trust_tests.settings import Shard
from trust_tests.sharding import Asked, shard_of, shards

from . import test_plugin
from .report.test_results import record
from .test_plugin import COARSE, RECIPE

gate, toys = test_plugin.gate, test_plugin.toys

SETTINGS = {"model": "m", "tier": "smoke", "tolerance": 5.0, "device": "auto"}
VERSIONS = {"torch": "2"}
DIMENSIONS = ("ethics", "mmlu", "toxicity")
VARIANTS = ("a:b", "a_b", "gptq-s0", "gptq-s1")
GOOD = record([1.0] * 8 + [0.0] * 2, [1.0] * 8 + [0.0] * 2)
BAD = record([1.0] * 10, [0.0] * 4 + [1.0] * 6)


def asked_of(variants: Sequence[str], dimensions: Sequence[str] = DIMENSIONS) -> list[Asked]:
    return [Asked(f"test_{d}.py::test_{d}[{v}]", d, v) for v in variants for d in dimensions]


def document(
    asked: Sequence[Asked], shard: Shard | None = None, bad: Sequence[str] = (), lost: Sequence[str] = ()
) -> dict[str, Any]:
    """What a run (of a shard) stores; gates whose node is in `bad` fail, those in `lost` measured nothing."""
    own = {one.gate for one in asked} if shard is None else shard_of(asked, shard)
    parts, unmeasured = [], []
    for position, one in enumerate(asked):
        if one.gate not in own:
            continue
        part: dict[str, Any] = {"node": one.node, "position": position, "models": {}, "dimensions": {}}
        if one.node in lost:
            part["gate"] = failed_record(one.variant, one.dimension, "not measured: skipped")
            unmeasured.append({"node": one.node, "reason": "not measured: skipped"})
        else:
            found = copy.deepcopy(BAD if one.node in bad else GOOD)
            part["gate"] = {**found, "variant": one.variant, "dimension": one.dimension}
            recipe = f"gptq:bits=4,seed={one.variant[-1]}" if "gptq" in one.variant else None
            part["models"] = {
                "dense": {"id": "dense", "name": "m", "fingerprint": "f0"},
                one.variant: {"id": one.variant, "name": one.variant, "fingerprint": one.variant, "recipe": recipe},
            }
            part["dimensions"] = {one.dimension: {"title": one.dimension, "items": 10, "fingerprint": {"items": "x"}}}
            part["controls"] = [control(one.dimension)]
        parts.append(part)
    return dict(assemble(parts, unmeasured, SETTINGS, command(shard), VERSIONS, Plan(asked, shard)).data)


def control(dimension: str) -> dict[str, Any]:
    budget = {"budget_delta": 1.0, "budget_flip_share": 0.02, "budget_flips": 1}
    measured = {"items": 10, "delta": 0.0, "flips": 0, "flip_share": 0.0, "lost": 0, "fit": True}
    return {"dimension": dimension, **measured, **budget}


def command(shard: Shard | None) -> str:
    return "pytest" if shard is None else f"pytest --trust-shard={shard.number}/{shard.of} --trust-results part"


def store(folder: Path, data: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(data))
    return folder


def answers(folder: Path, model: str, dimension: str, text: str = "yes") -> None:
    path = folder / outcomes_file(model, dimension)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"model": model, "dimension": dimension, "outcomes": [text]}))


GATES = st.lists(st.sampled_from(asked_of(VARIANTS)), min_size=1, max_size=12, unique=True)


@given(GATES, st.integers(1, 5), st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_joined_shards_are_what_one_run_gives(
    tmp_path_factory: pytest.TempPathFactory, asked: list[Asked], of: int, data: st.DataObject
) -> None:
    nodes = [one.node for one in asked]
    bad = data.draw(st.lists(st.sampled_from(nodes), unique=True))
    lost = data.draw(st.lists(st.sampled_from(nodes), unique=True, max_size=2))
    folder = tmp_path_factory.mktemp("shards")
    parts = [store(folder / str(k), document(asked, Shard(k, of), bad, lost)) for k in range(1, of + 1)]
    shuffled = data.draw(st.permutations(parts))
    merged = merge_results(shuffled, folder / "whole")
    whole = document(asked, None, bad, lost)
    assert json.dumps(merged.data) == json.dumps(whole)
    assert load_results(folder / "whole").data == json.loads(json.dumps(whole))
    assert (folder / "whole" / "report.html").stat().st_size > 10_000


def test_real_shards_run_their_own_gates_and_join_into_one_runs_results(
    gate: Any, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytester.makepyfile(test_toys=test_plugin.TESTS + "\ndef test_ordinary(): pass\n")
    monkeypatch.chdir(pytester.path)
    run = []
    for number in (1, 2, 3):
        done = gate(
            f"--trust-shard={number}/3",
            f"--trust-results=part-{number}",
            "-v",
            "--trust-tolerance=100",
            recipes=(RECIPE, COARSE),
        )
        assert done.ret == 0, done.stdout.str()
        done.stdout.fnmatch_lines(["*test_ordinary PASSED*", f"*This is shard {number} of 3: its verdict is of *"])
        found = json.loads(Path(f"part-{number}/results.json").read_text())
        assert found["shard"] == {"number": number, "of": 3, "gates": len(found["gates"])}
        assert (found["verdict"], found["unmeasured"], len(found["asked"])) == ("PASS", [], 4)
        done.stdout.fnmatch_lines(
            ["trust gate: model *", f"  shard {number} of 3: {len(found['gates'])} of 4 gates on *"]
        )
        assert f"shard {number} of 3" in Path(f"part-{number}/report.html").read_text()
        run += [(record["variant"], record["dimension"]) for record in found["gates"]]
    assert len(run) == len(set(run)) == 4
    gate("--trust-results=whole", "--trust-tolerance=100", recipes=(RECIPE, COARSE))
    assert main(["merge", "part-3", "part-1", "part-2", "-o", "merged"]) == 0
    assert "PASS: All 4 gates stay within" in capsys.readouterr().out
    whole, merged = (test_plugin.results(pytester, name) for name in ("whole", "merged"))
    assert json.dumps(merged) == json.dumps(whole)
    stored = {
        name: {path.relative_to(name): path.read_bytes() for path in Path(name).glob("outcomes/*/*.json")}
        for name in ("whole", "merged")
    }
    assert stored["merged"] == stored["whole"]
    assert len(stored["merged"]) == 6
    assert main(["merge", "part-1", "part-3", "-o", "merged"]) == 3
    assert "shard 2 of 3 is missing; run it and merge again" in capsys.readouterr().out.replace("\n  ", " ")


def test_a_missing_shard_is_an_error_that_names_its_gates(tmp_path: Path) -> None:
    asked = asked_of(VARIANTS)
    parts = [store(tmp_path / str(k), document(asked, Shard(k, 4))) for k in (1, 2, 4)]
    merged = merge_results(parts, tmp_path / "out")
    assert merged.verdict == "ERROR"
    gone = set(shards(asked, 4)[2])
    assert {one["node"] for one in merged.data["unmeasured"]} == {one.node for one in asked if one.gate in gone}
    assert {one["reason"] for one in merged.data["unmeasured"]} == {
        "not measured: shard 3 of 4 is missing; run it and merge again"
    }
    assert {(g["variant"], g["dimension"]) for g in merged.data["gates"] if g["verdict"] == "ERROR"} == gone


def test_a_missing_shard_that_had_nothing_to_do_is_not_missed(tmp_path: Path) -> None:
    asked = asked_of(VARIANTS[:1], DIMENSIONS[:2])
    parts = [store(tmp_path / str(k), document(asked, Shard(k, 4))) for k in (1, 2)]
    assert merge_results(parts, tmp_path / "out").verdict == "PASS"
    empty = store(tmp_path / "3", document(asked, Shard(3, 4)))
    assert load_results(empty).verdict == "ERROR"
    assert merge_results([*parts, empty], tmp_path / "out").verdict == "PASS"
    assert merge_results([empty], tmp_path / "out").verdict == "ERROR"


def test_a_shard_that_lost_a_gate_is_named(tmp_path: Path) -> None:
    asked = asked_of(VARIANTS)
    data = document(asked, Shard(1, 2))
    data["gates"].pop(0)
    part = store(tmp_path / "one", data)
    merged = merge_results([part, store(tmp_path / "two", document(asked, Shard(2, 2)))], tmp_path / "out")
    assert [one["reason"] for one in merged.data["unmeasured"]] == [
        f"not measured: shard 1 of 2 has no result for it ({part})"
    ]


def test_separate_runs_of_one_model_are_joined(tmp_path: Path) -> None:
    """Multiple-testing corrections and the spread over seeds are of the whole."""
    one, two = (store(tmp_path / v, document(asked_of([v]))) for v in ("gptq-s0", "gptq-s1"))
    merged = merge_results([one, two], tmp_path / "out")
    assert json.dumps(merged.data) == json.dumps(document(asked_of(["gptq-s0", "gptq-s1"])))
    assert len(merged.data["seeds"]) == len(DIMENSIONS)
    # Twice the same is once.
    assert merge_results([one, two, one], tmp_path / "out").data == merged.data


def test_graded_answers_are_copied_and_an_earlier_runs_are_gone(tmp_path: Path) -> None:
    one, two = (store(tmp_path / v, document(asked_of([v]))) for v in ("a:b", "a_b"))
    for folder, variant in ((one, "a:b"), (two, "a_b")):
        answers(folder, "dense", "mmlu")
        answers(folder, variant, "mmlu", variant)
    answers(tmp_path / "out", "old", "mmlu")
    merge_results([one, two], tmp_path / "out")
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").glob("outcomes/*/*"))
    assert files == ["outcomes/a=3ab/mmlu.json", "outcomes/a_b/mmlu.json", "outcomes/dense/mmlu.json"]
    assert "a:b" in (tmp_path / "out" / outcomes_file("a:b", "mmlu")).read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a:b", "a_b", "out"]


def changed(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        target: Any = data
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("settings", "tier", to="pr"), "setting tier is 'smoke' in the first and 'pr' in the second"),
        (changed("versions", "torch", to="3"), "version of torch is '2' in the first and '3' in the second"),
        (changed("models", "dense", "fingerprint", to="f1"), "model 'dense', fingerprint is 'f0' in the first"),
        (changed("dimensions", "mmlu", "fingerprint", "items", to="y"), "dimension 'mmlu', items is 'x' in the first"),
        (changed("gates", 0, "delta", to=-1.0), "'ethics' on 'a_b' was run twice and disagrees, delta is 0.0 in"),
        (changed("version", to=3), "schema version 3, this program reads 4"),
        (changed("gates", 0, "variant", to="stranger"), "'ethics' on 'stranger' has a result and is not among"),
        (changed("unmeasured", to=[{"node": "x", "reason": "r"}]), "'x' is not among the gates asked"),
        (changed("gates", 0, "interval", to={"low": 0}), "interval: 'high' is missing"),
        (changed("asked", to=3), "results.asked: expected an array, found a number"),
        (changed("shard", to={"number": 3, "of": 2}), "results.shard: there is no part 3 of 2"),
        (changed("models", to=[]), "results.models: expected an object"),
    ],
)
def test_what_cannot_stand_in_one_document_is_refused_in_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one = store(tmp_path / "one", document(asked_of(["a:b", "a_b"])))
    data = document(asked_of(["a_b", "gptq-s0"]))
    assert merge_results([one, store(tmp_path / "two", data)], tmp_path / "good").verdict == "PASS"
    change(data)
    assert main(["merge", str(one), str(store(tmp_path / "three", data)), "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_another_device_may_have_measured_a_part(tmp_path: Path) -> None:
    data = document(asked_of(["a_b"]))
    data["settings"] = {**SETTINGS, "device": "cuda:1"}
    parts = [store(tmp_path / "one", document(asked_of(["a:b"]))), store(tmp_path / "two", data)]
    assert merge_results(parts, tmp_path / "out").verdict == "PASS"


def test_shards_of_different_runs_are_refused(tmp_path: Path) -> None:
    one = store(tmp_path / "one", document(asked_of(VARIANTS), Shard(1, 2)))
    for name, other in (
        ("of", document(asked_of(VARIANTS), Shard(2, 3))),
        ("asked", document(asked_of("x"), Shard(2, 2))),
    ):
        with pytest.raises(MergeError, match="are shards of different runs; run every shard with the same options"):
            merge_results([one, store(tmp_path / name, other)], tmp_path / "out")


def test_answers_that_differ_or_cannot_be_read_are_refused(tmp_path: Path) -> None:
    one, two = (store(tmp_path / v, document(asked_of([v]))) for v in ("gptq-s0", "gptq-s1"))
    answers(one, "dense", "mmlu")
    answers(two, "dense", "mmlu", "no")
    with pytest.raises(MergeError, match="'dense' answered 'mmlu' differently; run the shards on machines of one kind"):
        merge_results([one, two], tmp_path / "out")
    for content in ("{", "[]", '{"model": 3, "dimension": "mmlu"}'):
        (two / outcomes_file("dense", "mmlu")).write_text(content)
        with pytest.raises(MergeError, match="cannot be used"):
            merge_results([one, two], tmp_path / "out")
    (two / outcomes_file("dense", "mmlu")).unlink()
    (two / outcomes_file("dense", "mmlu")).symlink_to("/etc/hostname")
    with pytest.raises(MergeError, match="cannot be used: a link"):
        merge_results([one, two], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_output_is_a_folder_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = store(tmp_path / "one", document(asked_of(["a:b"])))
    (tmp_path / "file").write_text("")
    for out, message in (("one", "one of the parts"), ("file", "a file of that name is in the way")):
        assert main(["merge", str(one), "-o", str(tmp_path / out)]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(MergeError, match="nothing to merge"):
        merge_results([], tmp_path / "out")


@pytest.mark.parametrize(("verdict", "status"), [("PASS", 0), ("FAIL", 1), ("INCONCLUSIVE", 4), ("ERROR", 3)])
def test_the_exit_status_is_the_gates(tmp_path: Path, verdict: str, status: int) -> None:
    data = document(asked_of(["a:b"]))
    data["gates"][1]["verdict"] = verdict
    assert main(["merge", str(store(tmp_path / "one", data)), "-o", str(tmp_path / "out")]) == status
    assert load_results(tmp_path / "out").verdict == verdict


def test_github_is_told_of_the_whole_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    asked = asked_of(VARIANTS)
    parts = [str(store(tmp_path / str(k), document(asked, Shard(k, 2), [asked[0].node]))) for k in (1, 2)]
    assert main(["merge", *parts, "-o", str(tmp_path / "quiet"), "--no-github"]) == 1
    assert not summary.exists()
    assert "::error" not in capsys.readouterr().out
    assert main(["merge", *parts, "-o", str(tmp_path / "out")]) == 1
    assert summary.read_text().count("Trust gate: FAIL") == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("::")]
    assert lines == ["::error title=Trust gate FAIL%3A ethics on a%3Ab::" + lines[0].rpartition("::")[2]]


def test_colours_are_for_those_who_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = str(store(tmp_path / "one", document(asked_of(["a:b"]))))
    for name, value, coloured in (("FORCE_COLOR", "1", True), ("NO_COLOR", "1", False)):
        monkeypatch.setenv(name, value)
        assert main(["merge", one, "-o", str(tmp_path / "out")]) == 0
        assert ("\x1b[32mPASS\x1b[0m" in capsys.readouterr().out) is coloured


def test_files_of_answers_have_a_name_for_every_model() -> None:
    names = ["a:b", "a_b", "a=3ab", "..", ".", ".hidden", "x" * 300, "x" * 299, "ü/ü", "a b", "A"]
    files = [outcomes_file(name, "mmlu") for name in names]
    assert len(set(files)) == len(names)
    for file in files:
        assert len(file.parts) == 3
        assert not file.parts[1].startswith(".")
        assert len(file.parts[1].encode()) < 250
    assert str(outcomes_file("gptq-3bit-g64-s0", "mmlu")) == "outcomes/gptq-3bit-g64-s0/mmlu.json"
