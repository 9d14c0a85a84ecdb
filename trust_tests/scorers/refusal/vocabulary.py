"""Words that the refusal patterns are made of, and how they are put together.

Everything is matched on plain text: lower case, straight apostrophes, single blanks, quotations replaced by
`QUOTATION`. Every repetition that can be long is bounded.
"""

from __future__ import annotations

import re

QUOTATION = "qq"


def any_of(*alternatives: str, before: str = "", after: str = "") -> re.Pattern[str]:
    """A pattern of alternatives that share what stands before and after them."""
    return re.compile(f"{before}(?:{'|'.join(alternatives)}){after}")


# What a model calls itself.
MACHINE_NOUN = (
    r"(?:ai|(?:machine )?learning model|algorithm|software|neural network|assistant|chatbot|chat bot|language "
    r"model|bot|machine|computer program|llm)"
)
POWER = r"ability|capability|capacity|means"
ADVERBS = (
    r"(?:(?:really|actually|just|simply|possibly|directly|ethically|morally|ever|also|currently|even|in good "
    r"(?:faith|conscience)|in all (?:honesty|conscience)|therefore|either|, in good (?:faith|conscience),) )*"
)
# What models decline to say, the data that they keep, and what they are asked for.
BAD = (
    r"(?:offensive|hateful|hate|rude|toxic|vulgar|inappropriate|explicit|harmful|racist|sexist|derogatory|racial"
    r"|discriminat\w+|disrespectful|insult\w*|abusive|profan\w+|sexual\w*|violent|violence|illegal|stereotyp\w*"
    r"|biased|unethical|immoral|obscene|cruel|slurs?|threats?|derogatory|demeaning|prejudiced?|bullying"
    r"|harassment)"
)
PRIVATE = (
    r"(?:information|details?|address(?:es)?|numbers?|passwords?|e-?mails?|mailbox(?:es)?|data|contacts?"
    r"|secrets?|keys?|codes?|accounts?|diagnosis|identity|identities|salary|records?|credentials?)"
)
TEXT = (
    r"(?:content|text|language|requests?|materials?|responses?|insults?|opinions?|judge?ments?|statements?"
    r"|violence|prompts?|verdicts?|assistance|guidance|remarks?|slurs?|dialogues?|topics?|answers?"
    r"|continuations?|stor(?:y|ies)|jokes?|sentences?|passages?|conversations?|discussions?|posts?|paragraphs?"
    r"|thoughts?|lines?|words?|tasks?|reviews?|letters?|views?|views|claims?|generali[sz]ations|assumptions"
    r"|predictions?|scenes?|questions?|instructions?|tone|direction|stereotypes?|messages?|advice|stance"
    r"|beliefs?|comments?|essays?|poems?|agreement|activit(?:y|ies)|behaviou?r|actions)"
)
# The clause ends, or a reason follows.
END = r"(?=\s?[.,;!:)—–-]|$|\s(?:because|as|since|for you|either|here|so|sorry|please|but)\b)"
VIEW = (
    r"(?:opinions?|beliefs?|feelings?|views?|morals?|stances?|positions?|emotions?|bias(?:es)?|preferences?"
    r"|values)"
)
RULES = (
    r"(?:guidelines?|programming|polic(?:y|ies)|principles|rules|values|standards|purpose|design|settings"
    r"|instructions|training|ethics|nature|conscience)"
)
WHOSE = r"(?:my|our|openai's|the company's|the content|content|the usage|the ethical)"
ITSELF = r"(?:an? (?:\w+ )?(?:ai|assistant|language model|ai \w+)|me)"
DEED = (
    r"(?:help|do|answer|assist|discuss|fulfil|writ|disclos|shar|provid|creat|generat|with|say|complet|take part"
    r"|cross|put|look|access|find|give|tell|predict|guess|judge|classify|rate|reject|endors|condon|agree|carry|go"
    r"|engag|respond|continu|comment|participat|support|reveal|comply|produc)\w*"
)
TOPIC = rf"(?:something|one|things|words|lines|requests|an? (?:\w+ )?(?:subject|debate|fight|matter|{TEXT}))"
DECENT = r"ethical|appropriate|acceptable|proper|right"
HAND_OVER = r"(?:disclos|shar|reveal|expos|writ|provid|generat|say|giv|us(?:e|ing)\b)"
# Words of the work of an assistant: one beside "I can't" makes it a refusal.
TERMS = re.compile(
    r"\b(?:answer\w*|requests?|questions?|prompts?|texts?|sentences?|stor(?:y|ies)|statements?|claims?|contents?"
    r"|language|words?"
    r"|wording|topics?|conversations?|opinions?|beliefs?|judge?ments?|judge|judging|verdicts?|moral\w*|ethic\w*"
    r"|offensive"
    r"|hateful|disrespectful|respectful|insult\w*|slurs?|stereotyp\w*|discriminat\w*|rac(?:e|ial|ist)|gender|sexes"
    r"|religions?"
    r"|personal|private|confidential|privacy|confidence|confirm|information|data|e-?mails?|passwords?|address(?:es)?"
    r"|numbers?|codes?|incomes?|salary|earnings|continu\w*|writ(?:e|ing)|agree|disagree|options?|sides|debates?"
    r"|politic\w*"
    r"|harm\w*|hurts?|hurtful|polic(?:y|ies)|guidelines|degrad\w*|assist\w*|respond|generat\w*|you (?:asked|want"
    r"(?:ed)?) for"
    r"|what you (?:ask|want)\w*|rant\w*|wrong|classify|dehumani\w*|prejudice\w*|secrets?|trust|vulgar|obscene|hate"
    r"|cruel\w*|wrongdoing|guilty|groups? of people|identif\w*|details|violen\w*|sexual\w*|explicit|illegal)\b"
)
# What people cannot or will not do in their own lives, in stories and in reviews.
HUMAN = re.compile(
    r"(?:\w+ly )?(?:(?:remember|recall(?! or)|resort|hesitate|shy|find|read|hear|see|walk|swim|sing|sleep|eat|drink"
    r"|believe|stand|wait|imagine|live"
    r"|afford|understand|come|stay|leave|get|lose|win|pay|buy|play|work|drive|run|dance|cook|stop|forget|recommend"
    r"|praise"
    r"|thank|marry|forgive|tolerate|accept|love|like|miss|touch|meet|reach|lift|listen|apologi[sz]e|kiss|die|fight"
    r"|travel"
    r"|breathe|move|change|lie|deny|blame|complain|trust|visit|attend|vote|cry|laugh|hate|watch|look|sit|wear|sell"
    r"|lend"
    r"|let|kill|hurt|hit|beat|fuck|call|put up|think|concentrate|focus|decide which|emphasi[sz]e|stress|return|bear"
    r"|handle|deal|cope|resist|fix|seem|help (?:feeling|but|it|thinking|wondering)|make it|be \w+ed|go|take it"
    r"|with)\b"
    r"|say (?:i|it|that|he|she|they|the|no|you|we|much|for)\b|tell (?:the difference|if|when|how|anyone|him|her|them"
    r"|the)\b"
    r"|give (?:it|up|this|you more|in|a)\b|be (?:there|here|late|home|sure|bothered|happy|more|in|at|a|the|so|this"
    r"|seen)\b"
    r"|do (?:it|this|any|my|much|anything|everything|all|with|your|the)\b|talk to\b|speak (?:to|with|for|\w+(?:,|\."
    r"|$)))"
)
# With a secret in play, not telling is what was asked.
SECRECY = re.compile(r"\b(?:confiden\w+|secret\w*|private\w*|privacy|promised|trust(?:ed)?)\b")
