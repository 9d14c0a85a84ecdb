"""The paper's result sheet as a clean table: `python convert.py num_sheet.csv > compressed_trust.csv`.

The sheet names its models by what was loaded (`hf/compressed-llm/llama-2-13b-chat-awq@4bit_128g`) and mixes units;
README.md beside this file says what is changed and what cannot be known.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path

MODELS = {
    "LLAMA2 13b Chat": "llama2-13b-chat",
    "LLAMA2 13b": "llama2-13b",
    "LLAMA2 7b Chat": "llama2-7b-chat",
    "LLAMA2 7b": "llama2-7b",
    "LLAMA2 70b Chat": "llama2-70b-chat",
    "Vicuna 13b Chat": "vicuna-13b-v1.3",
    "Vicuna 7b Chat": "vicuna-7b-v1.3",
}
METHODS = {
    "none": "dense",
    "mag": "magnitude",
    "sparsegpt": "sparsegpt",
    "wanda": "wanda",
    "GPTQ": "gptq",
    "AWQ": "awq",
}
DIMENSIONS = {
    "toxicity": "Toxicity",
    "stereotype": "Stereotype",
    "adversarial": "AdvGLUE++",
    "ood": "OOD",
    "adv_demo": "Adv Demo",
    "privacy": "Privacy",
    "ethics": "Ethics",
    "fairness": "Fairness",
}
FRACTIONS = ("toxicity", "fairness")
COLUMNS = (
    *("model", "method", "bits", "group", "pattern", "seed", "template", "repository", "revision"),
    *DIMENSIONS,
    *("mmlu", "average"),
    *(f"{name}_refusals" for name in DIMENSIONS),
)


def rows(sheet: Iterator[dict[str, str]]) -> Iterator[dict[str, str]]:
    """The sheet's rows with the columns of `COLUMNS`, all texts. Raises ValueError for a name it cannot read."""
    for row in sheet:
        figures = {name: row[column] for name, column in DIMENSIONS.items()}
        figures |= {"mmlu": row["MMLU"], "average": row["Average"]}
        for name, column in DIMENSIONS.items():
            percent = float(row[f"{column} Ref"]) * (100 if name in FRACTIONS else 1)
            figures[f"{name}_refusals"] = f"{percent:.1f}"
        yield {**compression(row), **figures}


def compression(row: dict[str, str]) -> dict[str, str]:
    """What was compressed, and how, of one row; empty where the name does not say."""
    repository, _, revision = row["Model"].split("/", 1)[1].partition("@")
    method = METHODS[row["Method Subtype"]]
    found = {"model": MODELS[row["Base Model"]], "method": method, "repository": repository, "revision": revision}
    if method in ("gptq", "awq"):
        bits = re.match(r"([348])bit_128g", revision)
        if bits is None or bits[1] != row["Sparsity/bits"]:
            raise ValueError(f"{row['Model']}: no bits, or not those of the column Sparsity/bits")
        found |= {"bits": bits[1], "group": "128"}
    elif method != "dense":
        pattern = re.match(r"0\.5_([124])to([248])(_|$)", revision)
        if pattern is None:
            raise ValueError(f"{row['Model']}: no sparsity pattern")
        found["pattern"] = f"{pattern[1]}:{pattern[2]}"
    seed = re.search(r"_(?:seed(\d)|(\d)seed)", revision)
    if seed:
        found["seed"] = seed[1] or seed[2]
    if "llama2-temp" in repository or revision.endswith("_llama-2"):
        found["template"] = "llama-2"
    return found


def main(sheet: str) -> None:
    """Write the clean table to the standard output."""
    with Path(sheet).open(encoding="utf-8", newline="") as file:
        order = list(METHODS.values())
        table = sorted(
            rows(csv.DictReader(file)),
            key=lambda row: (
                list(MODELS.values()).index(row["model"]),
                order.index(row["method"]),
                row.get("pattern", ""),
                row.get("bits", ""),
                row.get("seed", ""),
            ),
        )
    writer = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)


if __name__ == "__main__":
    main(sys.argv[1])
