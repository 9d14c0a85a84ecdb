"""The pytest plugin: options, fixtures and hooks. Wiring only; nothing heavy is imported before a trust test runs.

In an environment where no trust test is collected the plugin prints nothing, writes nothing and imports nothing.
"""

from __future__ import annotations

import os
import sys
import tempfile
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from trust_tests.exitcodes import ExitCode
from trust_tests.options import OPTIONS, Option

if TYPE_CHECKING:
    from trust_tests.run import TrustRun
    from trust_tests.session import Variant
    from trust_tests.settings import Settings

MARKER = "trust"
_RUN = pytest.StashKey["TrustRun"]()
_FOLDER = pytest.StashKey[Path]()
_DISTRIBUTION_CHOSEN = pytest.StashKey[bool]()
_WRONG_INPUT = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Every option of settings.OPTIONS, as a flag and as an ini key."""
    group = parser.getgroup(
        "trust gate",
        "trust gate: compress a language model, measure its trustworthiness, fail where a score leaves the dense "
        "model's. Every option is an ini key (trust_batch_size) and an environment variable (TRUST_BATCH_SIZE) too",
    )
    for option in OPTIONS:
        shown = option.help if option.default in ("", (), False) else f"{option.help} (default: {option.default})"
        shown = shown.replace("%", "%%")
        if isinstance(option.default, bool):
            group.addoption(option.flag, dest=option.key, action="store_true", default=None, help=shown)
        else:
            group.addoption(
                option.flag,
                dest=option.key,
                action="append" if isinstance(option.default, tuple) else "store",
                default=None,
                metavar=option.metavar or "|".join(option.choices),
                help=shown,
            )
        kind: Literal["linelist", "string"] = "linelist" if isinstance(option.default, tuple) else "string"
        parser.addini(option.key, f"see {option.flag}", type=kind, default=None)


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """Remember how the user wants tests distributed, before pytest-xdist fills in its default; end wrong input with 2.

    pytest's own code for it, 4, stays where nothing of ours is concerned; here it means an undecided gate.
    """
    chosen = config.getoption("dist", "no") != "no" or config.getoption("distload", False)
    config.stash[_DISTRIBUTION_CHOSEN] = chosen
    try:
        return (yield)
    except pytest.UsageError as error:
        # A worker of pytest-xdist hands its exceptions to its controller.
        if hasattr(config, "workerinput") or not (_RUN in config.stash or _WRONG_INPUT in config.stash):
            raise
        _tell(error)
        return int(ExitCode.USAGE)


def _tell(error: pytest.UsageError) -> None:
    """Say on stderr what is wrong, as pytest does, with nothing in it that a terminal or a CI runner obeys."""
    from trust_tests.report.text import defused, visible

    for message in error.args:
        for line in visible(f"ERROR: {message}").splitlines():
            print(defused(line), file=sys.stderr)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; read the settings early where the user gave some, so that a typo costs no time."""
    config.addinivalue_line(
        "markers", f"{MARKER}(dimension): a trust gate on one dimension; a skipped gate is not a passed one"
    )
    if any(config.getoption(option.key) not in (None, []) for option in OPTIONS):
        _run(config)
    if config.getoption("dist", "no") != "no" and config.getoption("tx") and not config.getoption("collectonly"):
        from trust_tests.parallel import Controller

        chosen = config.stash.get(_DISTRIBUTION_CHOSEN, True)
        controller = Controller(config, _folder(config), lambda: _run(config), chosen)
        config.pluginmanager.register(controller, "trust-controller")


def _folder(config: pytest.Config) -> Path:
    """The folder that all processes of this run share, made when the first of them writes."""
    if _FOLDER not in config.stash:
        shared = getattr(config, "workerinput", {}).get("trust_run")
        config.stash[_FOLDER] = Path(shared or Path(tempfile.gettempdir()) / f"trust-gate-{uuid.uuid4().hex}")
    return config.stash[_FOLDER]


def _run(config: pytest.Config) -> TrustRun:
    """The run, begun when the first trust test or trust option appears. Raises UsageError for a wrong setting."""
    if _RUN not in config.stash:
        from compressors.errors import CompressionError
        from trust_tests.settings import SettingsError, read_settings

        def command_line(option: Option) -> Any:
            return config.getoption(option.key)

        def ini(option: Option) -> Any:
            return config.getini(option.key)

        try:
            settings = read_settings(command_line, ini, os.environ, config.invocation_params.dir)
        except (SettingsError, CompressionError) as error:
            config.stash[_WRONG_INPUT] = True
            raise pytest.UsageError(str(error)) from None
        if settings.plan and getattr(config.option, "numprocesses", None):
            config.stash[_WRONG_INPUT] = True
            raise pytest.UsageError("--trust-plan: collects in this process; leave -n away")
        if hasattr(config, "workerinput"):
            _pin(config, settings)
        from trust_tests.run import TrustRun

        config.stash[_RUN] = TrustRun(config, settings, _folder(config))
        config.pluginmanager.register(config.stash[_RUN], "trust-run")
    return config.stash[_RUN]


def _pin(config: Any, settings: Settings) -> None:
    """A worker of pytest-xdist keeps to its own GPU from now on, which should be before anything imports torch."""
    from trust_tests.parallel import WARNING, pin_worker
    from trust_tests.pinning import PinningError

    try:
        config.workeroutput[WARNING] = pin_worker(config.workerinput, settings)
    except PinningError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per variant for every trust test that takes the `variant` fixture."""
    if "variant" in metafunc.fixturenames and metafunc.definition.get_closest_marker(MARKER):
        from trust_tests.session import variant_specs

        try:
            settings = _run(metafunc.config).settings
        except pytest.UsageError:
            # Here pytest would take it for a broken test file; it is raised again once everything is collected.
            return
        specs = variant_specs(settings)
        # Session scope makes pytest run all dimensions of one variant together, so each model is loaded once.
        metafunc.parametrize("variant", specs, ids=[spec.id for spec in specs], indirect=True, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out other shards' tests, after -k, -m and their like have chosen."""
    if any(item.get_closest_marker(MARKER) for item in items):
        _run(config).arrange(items)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Note what must be measured, and check what the user named before anything expensive."""
    asked = [item for item in session.items if item.get_closest_marker(MARKER)]
    if not asked and _RUN not in session.config.stash:
        return
    run = _run(session.config)
    run.ask(asked)
    if run.asked and not session.config.option.collectonly and not run.is_worker:
        problem = run.problem_with_inputs()
        if problem:
            raise pytest.UsageError(problem)


class TrustGate:
    """What a trust test holds: `check` measures the test's dimension on a variant and fails unless it passes."""

    def __init__(self, run: TrustRun, item: pytest.Item, dimension: str) -> None:
        self._run = run
        self._item = item
        self.dimension = dimension

    def check(self, variant: Variant) -> None:
        """Compare the variant with the dense model; the test fails unless the verdict is PASS."""
        self._run.check(self._item, self.dimension, variant)


@pytest.fixture(scope="session")
def variant(request: pytest.FixtureRequest) -> Generator[Variant]:
    """A compressed model: made or fetched once, audited, freed after the last test that uses it.

    Every trust test that takes it runs once per --trust-recipe and --trust-variant.
    """
    run = _run(request.config)
    if not hasattr(request, "param"):
        pytest.fail("the 'variant' fixture needs a test marked with @pytest.mark.trust('<dimension>')", pytrace=False)
    made = run.make_variant(request.param)
    yield made
    run.session.release(made.checkpoint)


@pytest.fixture(scope="session")
def compressed_checkpoint(variant: Variant) -> Path:
    """The folder of the variant's checkpoint, for tests that load it with tools of their own."""
    if not variant.checkpoint.path.is_dir():
        pytest.fail(f"variant {variant.id}: a served model has no folder", pytrace=False)
    return variant.checkpoint.path


@pytest.fixture
def trust_gate(request: pytest.FixtureRequest) -> TrustGate:
    """The gate for the dimension named by the test's marker: `trust_gate.check(variant)`."""
    marker = request.node.get_closest_marker(MARKER)
    if marker is None or len(marker.args) != 1:
        pytest.fail("mark the test with @pytest.mark.trust('<dimension>')", pytrace=False)
    return TrustGate(_run(request.config), request.node, str(marker.args[0]))
