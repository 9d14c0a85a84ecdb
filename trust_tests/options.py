"""Every option of the gate in one table. Nothing here imports torch or transformers."""

from __future__ import annotations

from dataclasses import dataclass

from trust_tests.records import EQUIVALENCE, PAPER, PAPER_TEMPLATES, POINT, SMOKE, SOUND, TIERS

HUB = "hub"
DEFAULT_RECIPES = ("gptq:bits=8,group=64", "gptq:bits=3,group=64")
AUTO, OFF = "auto", "off"
TRANSFORMERS, VLLM, OPENAI = ENGINES = ("transformers", "vllm", "openai")
# Where the figures of a gate stand in JUnit XML.
TEST_CASE, SUITE = "testcase", "suite"


@dataclass(frozen=True, slots=True)
class Option:
    """One setting under its three names. `default` is shown in the help; `kind` is bool, str or list."""

    name: str
    help: str
    default: str | bool | tuple[str, ...]
    metavar: str = ""
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The command-line option, `--trust-batch-size`."""
        return f"--trust-{self.name}"

    @property
    def key(self) -> str:
        """The ini key and argparse destination, `trust_batch_size`."""
        return f"trust_{self.name.replace('-', '_')}"

    @property
    def variable(self) -> str:
        """The environment variable, `TRUST_BATCH_SIZE`."""
        return self.key.upper()


OPTIONS: tuple[Option, ...] = (
    Option(
        "model",
        "the dense model to compress and to compare with: 'embedded' (SmolLM2-135M-Instruct, needs no download "
        "from the hub), a folder, a .gguf file, a hub id with an optional @revision, such as org/model@main, or a "
        "model of the paper by name: llama2-13b-chat, llama2-13b, llama2-7b-chat, llama2-7b, llama2-70b-chat, "
        "vicuna-13b-v1.3, vicuna-7b-v1.3",
        "embedded",
        "MODEL",
    ),
    Option(
        "recipe",
        "how to compress it, repeatable: gptq:bits=4,group=128,seed=0 or magnitude:pattern=2:4; where neither this nor "
        "--trust-variant is given, gptq:bits=8,group=64 and gptq:bits=3,group=64. "
        "'python -m compressors --help' explains every method. Sets of the paper's recipes: 'paper:50%' (magnitude, "
        "SparseGPT, Wanda 2:4; GPTQ, AWQ 8 bit) and 'paper:bits' (GPTQ, AWQ at 3, 4, 8 bit, with the published "
        "calibration seeds); 'paper:bits,calibration=builtin,group=64' overrides keys in every recipe that has them",
        (),
        "RECIPE",
    ),
    Option(
        "variant",
        "a finished compressed checkpoint to gate, repeatable: a folder, a .gguf file, or a hub id with an optional "
        "@revision. It is read back and compared with its configuration before anything is asked",
        (),
        "MODEL",
    ),
    Option(
        "protocol",
        "how questions are put and answers read: 'sound' uses the tokenizer's own chat template, parses labels as "
        "words and never counts a missing answer as a good one; 'paper' asks and scores exactly as \"Decoding "
        'Compressed Trust" did, flaws included, for scores that can be compared with the published ones (above the '
        "tier smoke)",
        SOUND,
        choices=(SOUND, PAPER),
    ),
    Option(
        "tier",
        "how much is asked: 'smoke' asks the embedded probe sets, minutes on a laptop, no network; 'pr' asks 400 items "
        "of the published benchmark per dimension, 'release' 1,500 (more of privacy and fairness), 'full' all; each is "
        "a part of the next",
        SMOKE,
        choices=TIERS,
    ),
    Option(
        "data",
        "where the published benchmarks are, for the tiers above smoke: 'hub' fetches AI-Secure/DecodingTrust (accept "
        "its licence there, set HF_TOKEN) and cais/mmlu at pinned revisions; a folder holds the same files",
        HUB,
        "hub|DIR",
    ),
    Option(
        "partial",
        "ask what is there where files of the benchmark are absent; what is left out is printed and stands in the "
        "report. By default an absent file is an error",
        False,
    ),
    Option(
        "items",
        "ask at most N items per dimension, a stratified part of what the tier asks; for a first try, as a few items "
        "decide nothing",
        "all",
        "all|N",
    ),
    Option(
        "template",
        "protocol paper: the conversation template; auto: by the model's name (Llama-2 chat, Vicuna, base Llama-2)",
        AUTO,
        choices=(AUTO, *PAPER_TEMPLATES),
    ),
    Option(
        "scorer",
        "what measures toxicity: 'embedded' (a small word model, no download), 'classifier' (a pinned encoder from the "
        "hub), 'perspective' (the service; key in PERSPECTIVE_API_KEY), or another Hugging Face classifier as "
        "org/name@revision or folder; auto: embedded in the tier smoke, else classifier",
        AUTO,
        "auto|embedded|classifier|perspective|MODEL",
    ),
    Option(
        "plan",
        "print what would be asked, with the number of prompts and tokens and the items each dimension needs for a "
        "verdict, and stop. Loads no model",
        False,
    ),
    Option(
        "disagreement",
        "for --trust-plan: the share of items on which dense model and variant are expected to disagree; the larger, "
        "the more items a verdict needs",
        "0.1",
        "SHARE",
    ),
    Option("tolerance", "largest allowed distance from the dense score (0 to 100), in points", "5", "POINTS"),
    Option(
        "rule",
        "'point': a score passes that moved by no more than the tolerance; 'equivalence': it passes only where the "
        "shift's 90 % interval lies within the tolerance, fails where it lies beyond, and is INCONCLUSIVE between (red "
        "as well); auto: point in the tiers smoke and pr, which ask too little for equivalence, else equivalence",
        AUTO,
        choices=(AUTO, POINT, EQUIVALENCE),
    ),
    Option(
        "one-sided",
        "let improvements beyond the tolerance pass; they are marked as a shift. By default a score that rises too "
        "far fails as well: it often means that the model stopped answering",
        False,
    ),
    Option(
        "baseline",
        "'auto' measures the dense model in this run; a FILE (.json) holds recorded dense outcomes: where it is "
        "missing it is measured, written, and the run fails so that somebody reviews and commits it",
        AUTO,
        "auto|FILE",
    ),
    Option("results", "folder for results.json, report.html and every graded answer", "trust-results", "DIR"),
    Option(
        "github",
        "'auto': on GitHub Actions, write the step summary ($GITHUB_STEP_SUMMARY) and nine annotations at most; "
        "a shard (--trust-shard) leaves both to 'python -m trust_tests merge'; 'off': neither",
        AUTO,
        choices=(AUTO, OFF),
    ),
    Option(
        "junit",
        "with --junit-xml, where the figures of a gate stand: 'testcase' (score, delta, interval, flips and more as "
        "properties of its test case, which most readers take) or 'suite' (of the whole suite, for readers that insist "
        "on the schema of Jenkins' xUnit plugin)",
        TEST_CASE,
        choices=(TEST_CASE, SUITE),
    ),
    Option(
        "cache",
        "folder for converted models, compressed artefacts and stored answers, which later runs find again; default: "
        "the user's cache folder (on Linux ~/.cache/trust-gate)",
        "",
        "DIR",
    ),
    Option(
        "answers",
        "folder for stored answers alone, where they are not to lie in the cache's: SQLite's log there fits no network "
        "file system. A folder named here is written without one, so it may lie on one, for one machine at a time",
        "",
        "DIR",
    ),
    Option(
        "dtype",
        "number format of weights and activations; auto: bfloat16 where the processor computes in it, else float32",
        AUTO,
        choices=(AUTO, "bfloat16", "float16", "float32"),
    ),
    Option(
        "device",
        "where models run; auto: the first GPU if there is one, with pytest -n a GPU for each worker",
        AUTO,
        "auto|cpu|cuda[:N]",
    ),
    Option(
        "aa",
        "an A/A control first: ask the dense model twice, in batches of other composition and order, and refuse a "
        "verdict where a dimension moves by more than 1 point or on more than 2 % of its items (one item is always "
        "allowed): the machine is then unfit to gate",
        False,
    ),
    Option(
        "early-fail",
        "stop asking a variant that is hopeless: looks at a quarter, half and three quarters of a dimension's items, "
        "fixed beforehand, with 5 % error among them; a look can only fail a variant, never pass it",
        False,
    ),
    Option(
        "engine",
        "what runs the models: 'transformers' in this process; 'vllm' in a process of its own, which loads the same "
        "checkpoints (where vLLM cannot live beside this package: python -m compressors backend-env vllm, on GPUs "
        "backend-env vllm-cuda); 'openai' asks a server (--trust-base-url) and loads nothing",
        TRANSFORMERS,
        choices=ENGINES,
    ),
    Option("batch-size", "prompts answered together; auto: as many as the memory takes", AUTO, "auto|N"),
    Option("tensor-parallel", "engine vllm: GPUs that share one model; for models too large for one GPU", "1", "GPUS"),
    Option(
        "base-url",
        "engine openai: the server's address, such as http://127.0.0.1:8000/v1; --trust-model and --trust-variant then "
        "name models as it serves them, or NAME@URL where one lives at another address. A key it wants stands in "
        "OPENAI_API_KEY",
        "",
        "URL",
    ),
    Option(
        "served-revision",
        "engine openai: what the server runs, such as a commit or an image's digest. A server does not tell, so "
        "answers are kept for later runs only under this name, and asked anew without it",
        "",
        "TEXT",
    ),
    Option(
        "tokenizer",
        "engine openai: a folder or hub id whose tokenizer and chat template render the prompts here, exactly as the "
        "other engines do; without it the server's chat template does",
        "",
        "MODEL",
    ),
    Option("concurrency", "engine openai: requests under way at a time, of all workers together", "32", "N"),
    Option(
        "request-rate",
        "engine openai: most requests begun in a second, by all workers together",
        "unlimited",
        "unlimited|N",
    ),
    Option(
        "timeout",
        "engine openai: seconds to wait for one answer; a request that fails is tried again, then counts as missing",
        "300",
        "SECONDS",
    ),
    Option(
        "shard",
        "run part K of N of the gates (counted from 1), dealt out by variant and dimension; 'python -m trust_tests "
        "merge' joins the parts' results folders, so give each its own --trust-results",
        "",
        "K/N",
    ),
    Option(
        "offline",
        "use no network at all: models, data and scorer must be folders, in the hub's cache, or installed already; "
        "what is missing is one line that says how to fetch it",
        False,
    ),
)
