"""The benchmark's three privacy scenarios as items, and their messages; both protocols share them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trust_tests.data.gpt2 import last_tokens
from trust_tests.data.loaders.privacy import Case, Context, Person, Target
from trust_tests.data.probes import filled, prompt_strings
from trust_tests.records import Item, Message

ENRON, PII, UNDERSTANDING = "enron", "pii", "understanding"
# Weights of the scenarios in the benchmark's score.
WEIGHTS: Mapping[str, float] = {ENRON: 0.4, PII: 0.3, UNDERSTANDING: 0.3}

# Ways to ask for an address, and the file their demonstrations come from.
ATTACKS: Mapping[str, str | None] = {
    "zero-shot": None,
    "knownzero-shot": None,
    "one-shot": "one_shot",
    "five-shot": "five_shot",
    "one-shot-non-domain": "one_shot_non_domain",
    "five-shot-non-domain": "five_shot_non_domain",
}
TEMPLATES = ("a", "b", "c", "d")
CONTEXT_TOKENS = (50, 100, 200)
# The reference's window on a context before it counts tokens.
CONTEXT_CHARACTERS = 1024
# Ways to ask for personal information: the place of the person asked for, which is also the number of demonstrations.
MODES: Mapping[str, int] = {"0shotattack": 0, "3shotprotect": 3, "3shotattack": 3}


def scenario(item: Item) -> str:
    """The scenario an item belongs to."""
    return item.cell.partition("/")[0]


def enron_item(cell: str, row: int, number: int, person: Person, prompt: str) -> Item:
    """One question for an address. Items of one attack and person form a cluster: the templates ask the same."""
    attack = attack_of(cell)
    data = {"email": person.email, "name": person.name, "prompt": prompt}
    return Item(f"privacy/{cell}/{row}", cell, f"privacy/{ENRON}/{attack}/{number}", data)


def attack_of(cell: str) -> str:
    """The attack of a cell of the scenario enron: `five-shot` of `enron/five-shot-a`."""
    return cell.partition("/")[2].rpartition("-")[0]


def enron_items(targets: Sequence[Target]) -> Iterator[Item]:
    """Every target under every attack and template, cell by cell."""
    for attack, file in ATTACKS.items():
        for template in TEMPLATES:
            cell = f"{ENRON}/{attack}-{template}"
            for row, target in enumerate(targets):
                shown = target.demonstrations[file] if file else ()
                domain = target.person.domain if attack == "knownzero-shot" else None
                prompt = enron_prompt(template, target.person.name, shown, domain)
                yield enron_item(cell, row, target.number, target.person, prompt)


def enron_prompt(template: str, name: str, shown: Sequence[Person] = (), domain: str | None = None) -> str:
    """Demonstrations and the query. `domain` tells the target's domain without a demonstration (known-zero-shot)."""
    strings = prompt_strings("privacy")["enron"]
    texts = strings["templates"][template]
    known = "" if domain is None else filled(strings["known_domain"], {"domain": domain})
    demonstrations = (filled(texts["demonstration"], {"name": p.name, "email": p.email}) for p in shown)
    return known + "".join(demonstrations) + filled(texts["query"], {"name": name})


def context_items(contexts: Sequence[Context], offline: bool = False) -> Iterator[Item]:
    """Every context in its three lengths, cell by cell. Raises DataError where GPT-2's tokenizer cannot be had."""
    for tokens in CONTEXT_TOKENS:
        cell = f"{ENRON}/context-{tokens}"
        for row, context in enumerate(contexts):
            prompt = context_prompt(context.text, tokens, offline)
            yield enron_item(cell, row, context.number, context.person, prompt)


def context_prompt(text: str, tokens: int, offline: bool = False) -> str:
    """The last `tokens` GPT-2 tokens of the text's last 1,024 characters."""
    return last_tokens(text[-CONTEXT_CHARACTERS:], tokens, offline)


def pii_item(kind: str, mode: str, row: int, case: Case) -> Item:
    """One question for a person's value. The values of a kind are drawn anew, so items are independent."""
    cell = f"{PII}/{kind.replace(' ', '')}/{mode}"
    data = {
        "pii": kind,
        "mode": mode,
        "people": [list(pair) for pair in case.people],
        "asked": case.asked,
        "secret": case.secret,
    }
    return Item(f"privacy/{cell}/{row}", cell, f"privacy/{cell}/{row}", data)


def pii_messages(data: Mapping[str, Any]) -> list[Message]:
    """System prompt, the five persons' values, demonstrations that reveal or protect, and the question."""
    strings = prompt_strings("privacy")["pii"]
    kind, people, asked = data["pii"], data["people"], data["asked"]
    statements = (filled(strings["statement"], {"name": n, "pii": kind, "value": v}) for n, v in people)
    messages = [
        Message("system", filled(strings["system"], {"pii": kind})),
        Message("user", "".join(statements)),
    ]
    protection = filled(strings["protection"], {"pii": kind})
    shown = MODES[data["mode"]]
    for name, value in people[:shown]:
        messages.append(Message("user", filled(strings["question"], {"name": name, "pii": kind})))
        messages.append(Message("assistant", protection if data["mode"].endswith("protect") else value))
    messages.append(Message("user", filled(strings["question"], {"name": people[asked][0], "pii": kind})))
    return messages


def understanding_prompt(text: str, event: str) -> str:
    """The friends, what was told (`text`, a sentence with `{event}`), and the question."""
    strings = prompt_strings("privacy")["understanding"]
    return str(strings["friends"] + filled(text, {"event": event}) + strings["question"])


def topics() -> Mapping[str, str]:
    """The eight topics and their events."""
    found: Mapping[str, str] = prompt_strings("privacy")["understanding"]["topics"]
    return found


def phrases() -> Sequence[tuple[str, str]]:
    """The 17 ways to tell a secret: the name that the recordings store, and the sentence with `{event}`."""
    return [(name, text) for name, text in prompt_strings("privacy")["understanding"]["phrases"]]


# --- Protocol sound: what is public, asked in the same way. ---

PUBLIC = "public"
# Items of each pair of fact and mode: so many cases of each kind of PII.
_CASES_PER_FACT = 8


def is_public(cell: str) -> bool:
    """Whether a cell asks for what everybody may know."""
    return cell.split("/")[1] == PUBLIC


def public_mailbox_items() -> Iterator[Item]:
    """Every mailbox, given among one or five in the prompt, under the four templates."""
    strings = prompt_strings("privacy")[PUBLIC]
    boxes = [Person(name, email) for name, email in strings["mailboxes"]]
    for way, count in strings["given"].items():
        for template in TEMPLATES:
            cell = f"{ENRON}/{PUBLIC}/{way}-{template}"
            for row, box in enumerate(boxes):
                # The mailbox asked for stands at every place in turn.
                start = row - row % count
                shown = [boxes[(start + step) % len(boxes)] for step in range(count)]
                data = {"email": box.email, "name": box.name, "prompt": enron_prompt(template, box.name, shown)}
                yield Item(f"privacy/{cell}/{row}", cell, f"privacy/{ENRON}/{PUBLIC}/{way}/{row}", data)


def public_fact_items(cases: Mapping[tuple[str, str], Sequence[Case]]) -> Iterator[Item]:
    """Facts about the persons of PII cases; `cases` by kind and mode."""
    kinds = prompt_strings("privacy")["pii"]["kinds"]
    for place, (fact, values) in enumerate(prompt_strings("privacy")[PUBLIC]["facts"].items()):
        for mode in MODES:
            cell = f"{PII}/{PUBLIC}/{fact.replace(' ', '')}/{mode}"
            for kind in kinds:
                begin = place * _CASES_PER_FACT
                for row, case in enumerate(cases[kind, mode][begin : begin + _CASES_PER_FACT], start=begin):
                    secret = pii_item(kind, mode, row, case)
                    told = [values[(row + step) % len(values)] for step in range(len(case.people))]
                    data = {**secret.data, "fact": fact, "facts": told, "choices": list(values)}
                    identity = f"privacy/{cell}/{kind.replace(' ', '')}/{row}"
                    yield Item(identity, cell, identity, data)


def public_fact_messages(data: Mapping[str, Any]) -> list[Message]:
    """The messages of the PII case with each person's fact told as well, and the fact asked for."""
    strings = prompt_strings("privacy")["pii"]
    system, told, *turns, _ = pii_messages(data)
    people, fact = data["people"], data["fact"]
    statements = (
        filled(strings["statement"], {"name": name, "pii": fact, "value": value})
        for (name, _), value in zip(people, data["facts"], strict=True)
    )
    question = filled(strings["question"], {"name": people[data["asked"]][0], "pii": fact})
    return [system, Message("user", told.content + "".join(statements)), *turns, Message("user", question)]


def public_news_items() -> Iterator[Item]:
    """The benchmark's events told as no secret."""
    news = prompt_strings("privacy")[PUBLIC]["news"]
    for topic in news["topics"]:
        cell = f"{UNDERSTANDING}/{PUBLIC}/{topic}"
        for row, (name, text) in enumerate(news["phrases"]):
            identity = f"privacy/{cell}/{row}"
            yield Item(
                identity, cell, identity, {"phrase": name, "prompt": understanding_prompt(text, topics()[topic])}
            )
