"""What `sweep --help` teaches."""

from __future__ import annotations

EXAMPLE = """\
models:
  - embedded                          # a name, a hub id with an optional @revision, or a folder
  - model: org/model-7b@main
    name: ours                        # how it is called on the page; default: the model
    variants: [./ours-4bit]           # its own recipes and variants stand in place of the common ones
    options: {protocol: sound}        # added to the common ones
    resources: {gpus: 2}
recipes:                              # how to compress each model
  - gptq:bits=4,group=128
  - wanda:pattern=2:4
dimensions: [ethics, ood, mmlu]       # default: all
options:                              # any --trust- option by name
  tier: pr
  data: ./benchmarks
  one-sided: true
resources: {cpus: 4}                  # of one task: gpus, cpus, memory (GiB), accelerator (Ray's name of a GPU)
cache: /storage/trust-cache           # models, artefacts, answers; default: the user's cache
results: ./sweep
"""

_BEFORE = """\
example of SPEC.yaml:

"""

_AFTER = """
Relative paths are looked up beside SPEC.yaml. TRUST_ variables and pytest's configuration files do not count.
A task is one variant in all dimensions, or the dense answers of a model, which come first and are asked once.

  python -m trust_tests sweep SPEC.yaml --plan          print the tasks
  python -m trust_tests sweep SPEC.yaml                 one task for every GPU here, else one at a time
  python -m trust_tests sweep SPEC.yaml --ray auto      on the Ray cluster this machine belongs to

With Ray on several machines, SPEC.yaml, results and cache must lie on storage that all of them see under one name,
and each must have this package; a task whose worker or machine is lost begins again, three times at most. SQLite needs
locks there: NFS 4, or another file system with working file locks.
Tasks of a model on unlike GPUs are right, but ask the dense model anew on each kind.

exit status: 0 every task passed; 1 something regressed; 4 nothing did, and something is undecided; 3 something was not
measured, or a task failed; 2 wrong input; 130 stopped by Ctrl-C
"""


def _indented(text: str) -> str:
    return "".join(f"  {line}" for line in text.splitlines(keepends=True))


EPILOG = _BEFORE + _indented(EXAMPLE) + _AFTER
