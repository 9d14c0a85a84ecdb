"""One Markdown page for each dimension, made of its docstring, its items and the counts of the benchmark's files."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from trust_tests.data.benchmark import DECODINGTRUST, MMLU, REVISIONS
from trust_tests.data.probes import FOLDER as DATA_FOLDER
from trust_tests.data.tiers import spread
from trust_tests.dimensions import BUILT_IN, get_dimension
from trust_tests.dimensions.base import Dimension, Setup
from trust_tests.docs.counts import FULL, Counts
from trust_tests.docs.docstrings import ASKED, FIGURES, REPAIRS, SCORE, SUMMARY, parts_of, whole
from trust_tests.evaluation import Questions
from trust_tests.plan import TOKENS_PER_WORD, Budget, budget
from trust_tests.records import PAPER, PAPER_TEMPLATES, SMOKE

# From the folder of the committed pages to the package.
_UP = "../.."
# Cells are listed by name up to here; more are summed up by what stands before their first slash.
_LISTED = 40
_REPAIRS_TITLE = "Known flaws of the published measurement, and what protocol `sound` does about them"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a dimension's benchmark comes from. folder: below the repository's root. warning: about its texts."""

    repository: str
    folder: str
    warning: str = ""


_OFFENSIVE = "Prompts and answers hold insults and slurs; the report hides harmful text until it is asked for."
_SOURCES: Mapping[str, Source] = {
    "toxicity": Source(DECODINGTRUST, "toxicity/user_prompts/", _OFFENSIVE),
    "stereotype": Source(DECODINGTRUST, "stereotype/dataset/", "The statements are offensive stereotypes."),
    "privacy": Source(
        DECODINGTRUST,
        "privacy/enron_data/",
        "The files hold names and addresses of real persons: keep them, and the results folder, to yourself.",
    ),
    "fairness": Source(DECODINGTRUST, "fairness/fairness_data/"),
    "ethics": Source(DECODINGTRUST, "machine_ethics/"),
    "adversarial": Source(DECODINGTRUST, "adv-glue-plus-plus/data/"),
    "ood": Source(DECODINGTRUST, "ood/"),
    "adv_demo": Source(DECODINGTRUST, "adv_demonstration/"),
    "mmlu": Source(MMLU, ""),
}
_TERMS: Mapping[str, str] = {
    DECODINGTRUST: "licence CC BY-SA 4.0; gated: accept its licence on its hub page and set `HF_TOKEN`",
    MMLU: "licence MIT; its Parquet files need the extra `hub-mmlu`, the original CSV files in a folder need nothing",
}


def dimension_page(name: str, counts: Counts | None, *, linked: bool = False) -> str:
    """The page of one dimension.

    counts: of its benchmark tiers; None where nothing was counted. linked: with links into the package, for pages
    that lie in it. Raises DimensionError for an unknown or broken dimension.
    """
    dimension = get_dimension(name)
    parts = parts_of(type(dimension))
    sections = [
        ("What is asked", parts.get(ASKED, "")),
        ("Score", parts.get(SCORE, "")),
        ("Figures beside the score", parts.get(FIGURES, "")),
        (_REPAIRS_TITLE, parts.get(REPAIRS, "")),
        ("Protocol `paper`", whole(type(_of_paper(name))) if name in BUILT_IN else ""),
        ("Data", "\n\n".join(_data(name, dimension, counts, linked))),
        ("Cells", "\n\n".join(_cells(dimension, counts))),
        ("Cost", "\n\n".join(_cost(dimension, counts))),
    ]
    lines = [f"# {dimension.title}", "", _origin(name, linked), "", parts.get(SUMMARY, "No docstring says what it is.")]
    lines += ["", *_facts(name, dimension)]
    for title, text in sections:
        if text:
            lines += ["", f"## {title}", "", text]
    return "\n".join(lines) + "\n"


def index_page(counts: Mapping[str, Counts], names: Sequence[str]) -> str:
    """The table of all dimensions, with what their tiers ask."""
    rows = []
    for name in names:
        dimension = get_dimension(name)
        summary = parts_of(type(dimension)).get(SUMMARY, "").split("\n\n")[0]
        asked = {tier: found.items for tier, found in _budgets(dimension, counts.get(name)).items()}
        cells = [f"{asked[tier]:,}" if tier in asked else "–" for tier in ("smoke", "pr", "release", FULL)]
        rows.append((f"[{name}]({name}.md)", " ".join(summary.split()), *cells))
    table = _table(("dimension", "measures", "smoke", "pr", "release", "full"), rows, numbers_from=2)
    text = (
        "Made by `python -m trust_tests docs`. The last four columns are the items that a tier asks of each model; "
        "files that were not at hand when they were counted are named on a dimension's page, and asked beside them."
    )
    return "\n".join(["# The dimensions", "", text, "", *table]) + "\n"


def _of_paper(name: str) -> Dimension:
    return get_dimension(name, Setup(protocol=PAPER, tier=FULL, template=PAPER_TEMPLATES[0]))


def _origin(name: str, linked: bool) -> str:
    where = f"`trust_tests/dimensions/{name}.py`"
    if name not in BUILT_IN:
        where = f"`{type(get_dimension(name)).__module__}`"
    elif linked:
        where = f"[{where}]({_UP}/dimensions/{name}.py)"
    return f"*Made by `python -m trust_tests docs` from the docstring in {where}: change it there.*"


def _facts(name: str, dimension: Dimension) -> list[str]:
    """Name, versions, chance and selection."""
    version = f"{dimension.version}"
    if name in BUILT_IN:
        version += f" (protocol `paper`: {_of_paper(name).version})"
    chance = "none" if dimension.chance is None else f"{dimension.chance:g} points"
    kept = "in proportion to its size" if dimension.allocation == "proportional" else "by its weight in the score"
    rows = [
        ("name in options, results and tests", f"`{name}`"),
        ("version", version),
        ("score of blind guessing", chance),
        ("a tier that asks a part takes of each cell", kept),
    ]
    return _table(("", ""), rows)


def _data(name: str, dimension: Dimension, counts: Counts | None, linked: bool) -> Iterator[str]:
    """Where the items come from, by tier."""
    if name not in BUILT_IN:
        yield f"{len(dimension.items()):,} items of its own, in every tier."
        return
    page = f"trust_tests/data/probes/{name}.md"
    shown = f"[{page}]({_UP}/data/probes/{name}.md)" if linked else page
    yield (
        f"Tier `smoke`: {len(dimension.items()):,} embedded probes, written for this project; how they were made, and "
        f"what they can and cannot show, stands in {shown}."
    )
    source = _SOURCES[name]
    below = f", below `{source.folder}`" if source.folder else ""
    hashes = sum(key.startswith(f"{source.repository}/{source.folder}") for key in _published())
    yield (
        f"Other tiers: `{source.repository}` on the Hugging Face hub at commit `{REVISIONS[source.repository][:12]}`"
        f"{below}, or the same files in a folder (`--trust-data FOLDER`); {_TERMS[source.repository]}. "
        + (f"{hashes} published files are known by their SHA-256." if hashes else "None of its files was at hand here.")
    )
    yield whole_module(f"trust_tests.data.loaders.{name}")
    if source.warning:
        yield f"**{source.warning}**"
    if counts is not None and counts.absent:
        listed = ", ".join(_shortened(counts.absent))
        yield f"Not at hand when items were counted, so in no figure below: {listed}."


@cache
def _published() -> Mapping[str, Sequence[str]]:
    hashes: dict[str, list[str]] = json.loads((DATA_FOLDER / "published_files.json").read_text(encoding="utf-8"))
    return hashes


def whole_module(name: str) -> str:
    """A module's docstring."""
    return (import_module(name).__doc__ or "").strip()


def _shortened(names: Sequence[str]) -> Iterator[str]:
    """The names, those of one kind as one where they are many."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for name in names:
        kinds[re.sub(r"[/_ ][^/ ]*$", "", name)].append(name)
    for kind, own in kinds.items():
        yield from own if len(own) < 3 else [f"{kind} … ({len(own)})"]


def _cells(dimension: Dimension, counts: Counts | None) -> Iterator[str]:
    """The cells of the probes and of the benchmark, with their items."""
    probes = spread(dimension.items())
    yield f"A cell has a sub-score of its own. The tier `smoke` has {_number(len(probes), 'cell')}:"
    yield "\n".join(_cell_table(probes))
    if counts is not None and counts.cells:
        yield f"The tier `full` has {_number(len(counts.cells), 'cell')}:"
        yield "\n".join(_cell_table(counts.cells))


def _cell_table(cells: Mapping[str, int]) -> list[str]:
    if len(cells) <= _LISTED:
        return _table(("cell", "items"), [(f"`{name}`", f"{items:,}") for name, items in cells.items()], 1)
    groups: dict[str, dict[str, int]] = defaultdict(dict)
    for name, items in cells.items():
        groups[name.partition("/")[0] if "/" in name else ""][name] = items
    rows = [
        (
            f"`{group}/…`" if group else ", ".join(f"`{name}`" for name in members),
            str(len(members)),
            f"{min(members.values()):,} to {max(members.values()):,}",
            f"{sum(members.values()):,}",
        )
        for group, members in groups.items()
    ]
    return _table(("cells", "how many", "items in each", "items"), rows, 1)


def _cost(dimension: Dimension, counts: Counts | None) -> Iterator[str]:
    """Prompts and tokens by tier."""
    rows = [
        (
            f"`{tier}`",
            *(f"{number:,}" for number in (found.items, found.prompts, found.answers)),
            f"about {found.prompt_tokens:,}",
            f"{found.new_tokens:,}",
        )
        for tier, found in _budgets(dimension, counts).items()
    ]
    header = ("tier", "items", "prompts", "answers", "prompt tokens", "new tokens, at most")
    yield "\n".join(_table(header, rows, 1))
    yield (
        "Of one model; a gate asks the dense model and each variant. Equal prompts are put once. An answer is a sample "
        "that is written, or a choice whose log-probability is read, for which nothing is written. Prompt tokens are "
        f"estimated at {TOKENS_PER_WORD} a word. `--trust-plan` prints the same for what you select."
    )


def _budgets(dimension: Dimension, counts: Counts | None) -> dict[str, Budget]:
    smoke = budget(Questions.of(dimension))
    return {SMOKE: smoke, **(counts.tiers if counts is not None else {})}


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 99) -> list[str]:
    """A Markdown table; columns from `numbers_from` on are aligned to the right."""
    rule = ["--:" if column >= numbers_from else "---" for column in range(len(header))]
    return [f"| {' | '.join(map(_escaped, row))} |" for row in (header, rule, *rows)]


def _escaped(cell: str) -> str:
    return cell.replace("|", r"\|")
