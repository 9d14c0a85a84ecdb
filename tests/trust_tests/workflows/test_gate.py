"""trust-gate.yml: what each job's scripts do with good, wrong and hostile inputs, on pull requests and elsewhere."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from trust_tests.settings import Shard

from ..test_merging import VARIANTS, asked_of, document, store
from .runner import Job, Service, load, program

HOSTILE = "\"; touch hacked; $(touch hacked) `touch hacked` ' or mmlu"
GATE = "trust-gate.yml"
BASE, HEAD = "base0", "head1"
PUSH = {"event_name": "push", "ref": "refs/heads/main", "sha": HEAD, "event": {}}


def pull_request(repository: str = "our/models") -> dict[str, Any]:
    head = {"repo": {"full_name": repository}, "sha": HEAD}
    event = {"pull_request": {"number": 12, "base": {"sha": BASE}, "head": head}}
    return {"event_name": "pull_request", "ref": "refs/pull/12/merge", "sha": "merge2", "event": event}


@pytest.fixture
def service(tmp_path: Path) -> Any:
    """A run of the workflow in which pytest and the package are scripts, unless a test wants the real ones."""
    commits = {name: tmp_path / "commits" / name for name in (BASE, HEAD, "merge2")}
    for folder in commits.values():
        folder.mkdir(parents=True)

    def made(github: dict[str, Any] = PUSH, **inputs: Any) -> Service:
        return Service(tmp_path / "github", GATE, inputs, github, commits, secrets={"HF_TOKEN": "hf_secret"})

    return made


def only(jobs: list[Job]) -> Job:
    assert len(jobs) == 1
    return jobs[0]


@pytest.mark.parametrize("count", [1, 2, 7, 99])
def test_the_matrix_covers_every_shard(service: Any, count: int) -> None:
    plan = only(service(shards=str(count)).run("plan")["plan"])
    assert plan.result == "success", plan.log
    assert json.loads(plan.outputs["shards"]) == [*range(1, count + 1)]
    job = load(GATE)["jobs"]["shard"]
    assert job["strategy"] == {
        "fail-fast": False,
        "matrix": {"shard": "${{ fromJSON(needs.plan.outputs.shards) }}"},
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *(
            ("shards", text, "whole number from 1 to 99")
            for text in ("", "0", "-1", "100", "1.5", "two", "1\n2", HOSTILE)
        ),
        *(("workers", text, "whole number from 0 to 99") for text in ("", "auto", "-1", "4 --pdb", HOSTILE)),
        *(("minutes", text, "whole number from 1 to 9999") for text in ("0", "10000", "1h", HOSTILE)),
        *(("name", text, "at most 40") for text in ("", "a-shard", "a b", "x" * 41, "../x", HOSTILE)),
        *(
            ("runner", text, "labels as a JSON array")
            for text in ("gpu", "[]", '"gpu"', "[1]", '[""]', "[][]", HOSTILE)
        ),
        *(("package", text, "what pip installs") for text in ("", " \n ")),
        *(("cache", text, "begins with /") for text in ("cache", "~/cache", "../x", HOSTILE)),
        *(
            ("baseline", text, "path of a .json file")
            for text in ("x", "/etc/x.json", "../x.json", "a/../../x.json", "a//x.json", "a\nb.json", "*.json", HOSTILE)
        ),
    ],
)
def test_wrong_inputs_are_told_and_nothing_else_runs(service: Any, name: str, value: str, message: str) -> None:
    run = service(**{name: value})
    jobs = run.run()
    plan = only(jobs.pop("plan"))
    assert (plan.result, [*plan.steps.values()]) == ("failure", [2])
    line = next(line for line in plan.log.splitlines() if line.startswith("::error"))
    assert line.startswith(f"::error title=trust gate::{name}: ")
    assert message in line
    assert plan.outputs["shards"] == ""
    assert {only(one).result for one in jobs.values()} == {"skipped"}
    assert not [*run.home.rglob("hacked")]


def test_the_event_with_the_bases_secrets_is_refused(service: Any) -> None:
    plan = only(service({**pull_request(), "event_name": "pull_request_target"}).run("plan")["plan"])
    assert plan.result == "failure"
    assert "call this workflow on pull_request" in plan.log


@pytest.mark.parametrize(
    ("recipes", "variants", "compress"),
    [("", "", "true"), ("a:b=1", "", "true"), ("a:b=1", "x", "true"), ("", "x\ny", "false"), (" \n", "x", "false")],
)
def test_only_recipes_are_compressed(service: Any, recipes: str, variants: str, compress: str) -> None:
    run = service(recipes=recipes, variants=variants)
    assert only(run.run("plan")["plan"]).outputs["compress"] == compress


def test_caches_of_other_models_recipes_and_packages_are_others(service: Any) -> None:
    digests = [
        only(service(**inputs).run("plan")["plan"]).outputs["digest"]
        for inputs in ({}, {"model": "a/b"}, {"recipes": "x:y=1"}, {"variants": "x"}, {"package": "x"}, {"tier": "pr"})
    ]
    assert len(set(digests)) == 5
    assert digests[0] == digests[-1]
    assert all(len(digest) == 16 for digest in digests)


def measured(run: Service, *shards: int, of: int = 1) -> Service:
    """Let the shards' pytest write results as they would, and note its arguments; others write none."""
    shutil.rmtree(run.home / "stored", ignore_errors=True)
    for number in shards:
        store(run.home / "stored" / str(number), document(asked_of(VARIANTS), Shard(number, of)))
    run.tools["pytest"] = (
        f'printf "%s\\n" "$@" > arguments; mkdir -p "$TRUST_ANSWERS"; '
        f'[ ! -d {run.home}/stored/$SHARD ] || cp -r {run.home}/stored/$SHARD "$TRUST_RESULTS"'
    )
    run.tools["python"] = f'[ "$4" != compress ] || exit 0\nexec {sys.executable} "$@"'
    return run


@pytest.mark.parametrize(
    ("status", "results", "expected"),
    [
        (0, True, 0),
        (1, True, 1),
        (3, True, 3),
        (4, True, 4),
        (4, False, 4),
        (5, True, 0),
        (5, False, 5),
        (137, False, 137),
    ],
)
def test_a_shard_ends_as_its_gates_do(service: Any, status: int, results: bool, expected: int) -> None:
    run = service(shards="3", workers="4", select=HOSTILE, variants="./x", model=HOSTILE)
    write = 'mkdir -p "$TRUST_RESULTS"; touch "$TRUST_RESULTS/results.json";' if results else ""
    run.tools["pytest"] = f'printf "%s\\n" "$@" > arguments; {write} exit {status}'
    second = run.run("plan", "compress", "shard")["shard"][1]
    assert second.steps["Gate"] == expected, second.log
    assert second.result == ("failure" if expected else "success")
    arguments = (run.home / "machines/shard-2/workspace/arguments").read_text().splitlines()
    assert arguments[:2] == ["--pyargs", "trust_tests"]
    assert arguments[-6:] == ["--trust-baseline=auto", "--trust-shard=2/3", "-n", "4", "-k", HOSTILE]
    assert second.environments["Gate"]["TRUST_MODEL"] == HOSTILE
    assert not [*run.home.rglob("hacked")]
    assert (run.home / "artefacts/trust-shard-2").exists() == results


def test_requirements_are_no_options_and_stand_one_a_line(service: Any) -> None:
    run = measured(service(package="first>=1\n\n  \n-r /etc/passwd; touch hacked\n", variants="x", shards="1"), 1)
    run.run()
    for job in ("shard-1", "report"):
        given = (run.home / "machines" / job / "pip").read_text().splitlines()
        assert given == ["install", "--quiet", "--", "first>=1", "-r /etc/passwd; touch hacked"]
    assert not [*run.home.rglob("hacked")]


@pytest.mark.parametrize(("kept", "expected", "shown"), [((1, 2), 0, "PASS"), ((1,), 3, "ERROR"), ((), 2, None)])
def test_the_verdict_is_that_of_all_shards(
    service: Any, kept: tuple[int, ...], expected: int, shown: str | None
) -> None:
    run = measured(service(shards="2", variants="x"), *kept, of=2)
    report = only(run.run("plan", "compress", "shard", "report")["report"])
    assert report.steps["Join the shards"] == expected, report.log
    assert bool(report.summary) == (shown is not None)
    kept_report = run.home / "artefacts/trust-report"
    assert kept_report.exists() == (shown is not None)
    if shown is not None:
        assert report.summary.count(f"Trust gate: {shown}") == 1
        assert {"results.json", "report.html"} <= {file.name for file in kept_report.iterdir()}


@pytest.mark.parametrize(
    ("status", "result", "shards"), [(0, "success", True), (3, "success", True), (2, "failure", False)]
)
def test_models_that_cannot_be_made_are_an_error_of_their_gates_alone(
    service: Any, status: int, result: str, shards: bool
) -> None:
    run = measured(service(shards="1"), 1)
    run.tools["python"] = f'[ "$4" != compress ] || exit {status}\nexec {sys.executable} "$@"'
    jobs = run.run()
    compress = only(jobs["compress"])
    assert compress.result == result
    assert ("::warning" in compress.log) == (status == 3)
    assert (jobs["shard"][0].result, jobs["report"][0].result) == (("success",) * 2 if shards else ("skipped",) * 2)


def test_models_are_kept_once_for_each_content_and_answers_for_each_shard(service: Any) -> None:
    github = {**PUSH}
    keys = []
    for run_id, folder in ((1, "artefacts/gptq-1"), (2, "artefacts/gptq-1"), (3, "artefacts/gptq-2")):
        run = measured(service({**github, "run_id": str(run_id)}, shards="2"), 1, 2, of=2)
        run.tools["python"] = f'[ "$4" != compress ] || mkdir -p "$TRUST_CACHE/{folder}"\n{run.tools["python"]}'
        run.tools["pytest"] = (
            f'{run.tools["pytest"]}; ls "$TRUST_CACHE/artefacts" "$TRUST_ANSWERS" > seen; touch "$TRUST_ANSWERS/$SHARD"'
        )
        jobs = run.run("plan", "compress", "shard")
        assert {job.result for job in (*jobs["compress"], *jobs["shard"])} == {"success"}
        keys.append({one.name for one in (run.home / "caches").glob("trust-models-*")})
        seen = (run.home / "machines/shard-2/workspace/seen").read_text().splitlines()
        # From the second run on, what the same shard of an earlier run learnt is there too.
        assert (folder.rpartition("/")[2] in seen, "2" in seen) == (True, run_id > 1)
    assert keys[0] == keys[1] < keys[2]
    assert len(keys[2]) == 2
    answers = {one.name.rpartition("-of-")[2] for one in (run.home / "caches").glob("trust-answers-*")}
    assert answers == {"2-1-1", "2-2-1", "2-3-1"}


def test_a_folder_on_the_machines_is_split_between_branches_and_pull_requests(service: Any, tmp_path: Path) -> None:
    folders = set()
    for github in (PUSH, pull_request(), pull_request("other/models")):
        run = measured(service(github, shards="1", cache=str(tmp_path / "disk")), 1)
        jobs = run.run("plan", "compress", "shard")
        env = jobs["shard"][0].environments["Gate"]
        assert env["TRUST_CACHE"] == jobs["compress"][0].environments["Compress"]["TRUST_CACHE"]
        assert env["TRUST_ANSWERS"] == ""
        folders.add(Path(env["TRUST_CACHE"]).relative_to(tmp_path).as_posix())
        assert not (run.home / "caches").exists()
    assert folders == {"disk/branches", "disk/pull-requests"}


@pytest.mark.parametrize(
    ("github", "expected"),
    [
        (pull_request(), "of the base"),
        (pull_request("other/models"), "of the base"),
        ({**PUSH, "event_name": "merge_group", "event": {"merge_group": {"base_sha": BASE}}}, "of the base"),
        (PUSH, "of the commit"),
    ],
)
def test_the_baseline_is_never_the_pull_requests_own(service: Any, github: dict[str, Any], expected: str) -> None:
    run = measured(service(github, shards="1", variants="x", baseline="baselines/model.json"), 1)
    texts = {BASE: "of the base", HEAD: "of the commit", "merge2": "of the pull request"}
    for commit, text in texts.items():
        file = run.commits[commit] / "baselines" / "model.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        (file.parent / "other.json").write_text("not asked for")
    jobs = run.run("plan", "compress", "shard")
    assert jobs["plan"][0].result == "success", jobs["plan"][0].log
    named = jobs["shard"][0].environments["Gate"]["TRUST_BASELINE"]
    workspace = run.home / "machines/shard-1/workspace"
    assert (workspace / named).read_text() == expected
    assert [*(workspace / "trust-base").rglob("*.json")] == [workspace / named]
    assert f"--trust-baseline={named}" in (workspace / "arguments").read_text().splitlines()


def test_a_baseline_that_only_the_pull_request_has_is_refused(service: Any) -> None:
    run = service(pull_request(), baseline="model.json")
    (run.commits["merge2"] / "model.json").write_text("{}")
    jobs = run.run()
    assert only(jobs["plan"]).result == "failure"
    assert "baseline: the base branch has no file model.json; record it with baseline.yml" in only(jobs["plan"]).log
    assert only(jobs["shard"]).result == "skipped"


def fake_gh(run: Service, comments: list[dict[str, Any]]) -> Path:
    """A `gh` that answers with these comments, in two pages, and notes what it is told and given."""
    folder = run.home / "bin"
    folder.mkdir(parents=True)
    pages = [comments[: len(comments) // 2], comments[len(comments) // 2 :]]
    (folder / "pages").write_text("".join(map(json.dumps, pages)))
    program(
        folder / "gh",
        f'printf "%s\\n" "$*" >> {folder}/calls\n'
        f'case "$*" in *--paginate*) cat {folder}/pages ;; *body=@*) last="${{@: -1}}"; '
        f'cp "${{last#body=@}}" {folder}/body ;; esac',
    )
    run.path.append(folder)
    return folder


MARKER = "<!-- pytest-trust-gate trust -->"
BOT, PERSON = {"login": "github-actions[bot]"}, {"login": "somebody"}
OTHERS = [
    {"id": 1, "user": PERSON, "body": f"{MARKER}\nnot the bot's"},
    {"id": 2, "user": BOT, "body": "another comment"},
    {"id": 3, "user": BOT, "body": "<!-- pytest-trust-gate trust2 -->\nanother gate"},
]


@pytest.mark.parametrize("there", [False, True])
def test_the_comment_is_written_once_and_then_brought_up_to_date(service: Any, there: bool) -> None:
    run = measured(service(pull_request(), shards="1", variants="x"), 1)
    mine = [{"id": 44, "user": BOT, "body": f"{MARKER}\nold"}] if there else []
    gh = fake_gh(run, [*OTHERS, *mine])
    comment = only(run.run()["comment"])
    assert comment.result == "success", comment.log
    listed, written = (gh / "calls").read_text().splitlines()
    assert listed == "api --paginate repos/our/models/issues/12/comments?per_page=100"
    where = "PATCH repos/our/models/issues/comments/44" if there else "POST repos/our/models/issues/12/comments"
    assert written.startswith(f"api --silent --method {where} -F body=@")
    body = (gh / "body").read_text()
    assert body.startswith(f"{MARKER}\nCommit {HEAD}, [run 7](https://github.com/our/models/actions/runs/7): ")
    assert "Trust gate: PASS" in body
    step = load(GATE)["jobs"]["comment"]["steps"][-1]
    assert step["env"]["GH_TOKEN"] == "${{ github.token }}"


def test_a_comment_fits(service: Any) -> None:
    run = measured(service(pull_request(), shards="1", variants="x"), 1)
    gh = fake_gh(run, [])
    run.run("plan", "compress", "shard", "report")
    (run.home / "artefacts/trust-comment/comment.md").write_text("x" + "é" * 40_000, encoding="utf-8")
    assert only(run.run("comment")["comment"]).result == "success"
    body = (gh / "body").read_text(encoding="utf-8")
    assert len(body) < 65_536
    assert body.endswith("éé\n")


@pytest.mark.parametrize(
    ("github", "inputs"), [(PUSH, {}), (pull_request("other/models"), {}), (pull_request(), {"comment": False})]
)
def test_no_comment_elsewhere_but_always_an_artefact(
    service: Any, github: dict[str, Any], inputs: dict[str, Any]
) -> None:
    run = measured(service(github, shards="1", variants="x", **inputs), 1)
    gh = fake_gh(run, [])
    jobs = run.run()
    assert only(jobs["report"]).result == "success"
    assert (run.home / "artefacts/trust-report/report.html").exists()
    assert only(jobs["comment"]).result == "skipped"
    assert not (gh / "calls").exists()
    fork = github["event"].get("pull_request", {}).get("head", {}).get("repo") == {"full_name": "other/models"}
    assert only(jobs["shard"]).environments["Gate"]["HF_TOKEN"] == ("" if fork else "hf_secret")


def test_the_comment_tells_of_a_failed_gate(service: Any) -> None:
    run = measured(service(pull_request(), shards="2", variants="x"), 1, of=2)
    gh = fake_gh(run, [])
    jobs = run.run()
    assert (only(jobs["report"]).result, only(jobs["comment"]).result) == ("failure", "success")
    assert "Trust gate: ERROR" in (gh / "body").read_text()


def test_compressing_and_measuring_happen_on_the_machines_named_within_their_time(service: Any) -> None:
    run = measured(service(shards="1", runner=' [ "self-hosted",\n "gpu" ]', minutes="90"), 1)
    jobs = run.run()
    for name in ("compress", "shard"):
        assert (only(jobs[name]).runs_on, only(jobs[name]).minutes) == (["self-hosted", "gpu"], 90)
    assert {only(jobs[name]).runs_on for name in ("plan", "report")} == {"ubuntu-latest"}
