"""The pages are true to the program: links lead somewhere, options and commands exist, the README stays short."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from trust_tests.options import OPTIONS

from .markdown import DOCS, ROOT, anchors, blocks, links, shell_lines

README = ROOT / "README.md"
FOLDERS = ("trust_tests", "compressors", "tests", "baselines")
PAGES = [README, ROOT / "CHANGELOG.md", *sorted(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
# What teaches users what to type; the dimensions' pages are made of docstrings.
TEACHING = [README, *sorted(DOCS.glob("*.md"))]
MOST_README_LINES = 220
INSTALL_AND_RUN = (
    "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt . && .venv/bin/pytest --pyargs trust_tests"
)
OWN_TESTS = (
    "python3 -m venv .venv-test && .venv-test/bin/pip install -c constraints.txt -e '.[test]' && .venv-test/bin/pytest"
)
# Read by the project's tests and benchmarks alone.
OTHER_VARIABLES = {"TRUST_DATA_DIR", "TRUST_REPLAY_DIR", "TRUST_REQUIRE_BROWSER"}


def shown(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_relative_link_and_anchor_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    broken = []
    for link in links(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            broken.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
            broken.append(f"{link}: no such heading")
    assert broken == []


def test_the_check_of_links_sees_what_is_wrong() -> None:
    text = "# A title, and `more`\n\n## A title\n## A title\n\n[a](x.md) `[b](y.md)` [c `d`](z.md#q)\n"
    text += "```sh\n[e](f)\n```\n"
    assert links(text) == ["x.md", "z.md#q"]
    assert anchors(text) == {"a-title-and-more", "a-title", "a-title-1"}


def test_all_pages_are_found_from_the_readme() -> None:
    reached, waiting = set(), [README]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        targets = {(page.parent / link.partition("#")[0]).resolve() for link in links(page.read_text(encoding="utf-8"))}
        waiting += [target for target in targets if target in PAGES and target not in reached]
    assert set(DOCS.rglob("*.md")) - reached == set()


@pytest.mark.parametrize("page", TEACHING, ids=shown)
def test_every_option_and_variable_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    flags = {option.flag for option in OPTIONS}
    assert set(re.findall(r"--trust-[a-z](?:[a-z-]*[a-z])?", text)) <= flags
    variables = set(re.findall(r"\bTRUST_[A-Z][A-Z_]*\b", text))
    assert variables <= {option.variable for option in OPTIONS} | OTHER_VARIABLES
    keys = set(re.findall(r"`(trust_[a-z_]+)`", text)) - {"trust_tests", "trust_remote_code", "trust_gate"}
    assert keys <= {option.key for option in OPTIONS}


def commands(page: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Package, subcommand and long options of every `python -m` of ours that a page names, in blocks or in the text."""
    text = page.read_text(encoding="utf-8")
    spans = re.findall(r"`(python -m [^`]+)`", text)
    for line in (*shell_lines(text), *spans):
        words = shlex.split(line)
        if words[:2] == ["python", "-m"] and words[2] in ("trust_tests", "compressors"):
            subcommand = words[3] if len(words) > 3 and not words[3].startswith("-") else ""
            yield words[2], subcommand, tuple(word for word in words[3:] if re.match(r"--?[a-z]", word))


def help_of(package: str, subcommand: str, capsys: pytest.CaptureFixture[str]) -> str:
    from compressors.__main__ import main as compressors
    from trust_tests.__main__ import main as trust_tests

    main = {"compressors": compressors, "trust_tests": trust_tests}[package]
    with pytest.raises(SystemExit) as end:
        main([*([subcommand] if subcommand else []), "--help"])
    assert end.value.code == 0, f"python -m {package} has no command {subcommand!r}"
    return capsys.readouterr().out


@pytest.mark.parametrize("page", TEACHING, ids=shown)
def test_every_command_of_the_two_packages_exists_with_its_options(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for package, subcommand, options in dict.fromkeys(commands(page)):
        text = help_of(package, subcommand, capsys)
        for option in options:
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text), f"{package} {subcommand}: {option}"


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_the_scripts_and_modules_of_the_checkout_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    scripts = {name for name in re.findall(r"\bpython (tests/\S+?\.py)\b", text) if "NAME" not in name}
    modules = set(re.findall(r"\bpython -m (tests(?:\.\w+)+)", text))
    assert [name for name in scripts if not (ROOT / name).is_file()] == []
    places = [(ROOT / name.replace(".", "/")) for name in modules]
    assert [str(p) for p in places if not (p.with_suffix(".py").is_file() or (p / "__main__.py").is_file())] == []


def test_the_readme_is_short_and_keeps_its_two_commands() -> None:
    text = README.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_README_LINES
    section = text.partition("## Two commands")[2].partition("\n## ")[0]
    assert [block.code.strip() for block in blocks(section)] == [INSTALL_AND_RUN, OWN_TESTS]


def test_the_ci_runs_what_the_readme_says() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "-c constraints.txt -e '.[test]'" in script
    assert "pytest --pyargs trust_tests" in script


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_no_page_names_a_machine_s_paths(page: Path) -> None:
    assert re.findall(r"(?<![\w.])/(?:work|tmp|home|root)/\S*", page.read_text(encoding="utf-8")) == []


def test_the_commits_to_fetch_are_those_the_program_asks_for() -> None:
    from trust_tests.data.benchmark import REVISIONS
    from trust_tests.scorers.choose import DEFAULT_CLASSIFIER

    text = (DOCS / "air-gapped.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"hf download (?:--repo-type dataset )?(\S+) --revision ([0-9a-f]{40})", text))
    assert told == {**REVISIONS, **dict([DEFAULT_CLASSIFIER.split("@")])}
