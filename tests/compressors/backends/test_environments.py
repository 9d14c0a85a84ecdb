"""Environments for isolated libraries, made for real from a package that lies in the test's own folder."""

from __future__ import annotations

import sys

import pytest

from compressors.backends import LIBRARIES, environments, require, versions
from compressors.backends.environments import COMPLETE, environment_folder, find_env, make_env
from compressors.errors import CompressionError

METADATA = "Metadata-Version: 2.1\nName: auto-gptq\nVersion: 0.7.1\n"


@pytest.fixture
def requirements(tmp_path, monkeypatch):
    """A requirement file that names a local wheel, so that nothing is fetched."""
    import zipfile

    wheel = tmp_path / "auto_gptq-0.7.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("auto_gptq.py", "")
        archive.writestr("auto_gptq-0.7.1.dist-info/METADATA", METADATA)
        archive.writestr(
            "auto_gptq-0.7.1.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("auto_gptq-0.7.1.dist-info/RECORD", "")
    folder = tmp_path / "requirements"
    folder.mkdir()
    (folder / "auto-gptq.txt").write_text("# nothing but the library\n")
    (folder / "auto-gptq.after.txt").write_text(f"--no-index\n{wheel}\n")
    monkeypatch.setattr(environments, "REQUIREMENTS", folder)
    return folder


def make(cache, said, python=None):
    return make_env("auto-gptq", python=python, cache=cache, announce=said.append)


def test_an_environment_is_made_found_and_not_made_again(requirements, tmp_path):
    cache, said = tmp_path / "cache", []
    with pytest.raises(CompressionError, match="backend-env auto-gptq"):
        require("auto-gptq", cache=cache)
    # What a killed attempt left is never used, and replaced.
    half = environment_folder("auto-gptq", cache)
    (half / "bin").mkdir(parents=True)
    (half / "bin" / "python").symlink_to(sys.executable)
    (half / "left").write_text("")
    assert find_env("auto-gptq", cache) is None
    python = make(cache, said)
    assert (half / COMPLETE).is_file()
    assert not (half / "left").exists()
    assert python == find_env("auto-gptq", cache)
    assert str(said[0]).startswith("auto-gptq: making an environment in ")
    assert said[-1] == "auto-gptq: ready"
    require("auto-gptq", cache=cache)
    assert versions("auto-gptq", cache=cache) == {"auto-gptq": "0.7.1", "torch": "absent", "transformers": "absent"}
    again = []
    assert make(cache, again) == python
    assert len(again) == 1
    assert "is ready" in again[0]
    # Other pins are another environment.
    (requirements / "auto-gptq.txt").write_text("# changed\n")
    assert find_env("auto-gptq", cache) is None


def test_a_failed_install_is_one_line_with_the_log_and_leaves_no_environment(requirements, tmp_path):
    cache = tmp_path / "cache"
    (requirements / "auto-gptq.after.txt").write_text("--no-index\nno-such-package-anywhere==1\n")
    with pytest.raises(CompressionError) as failure:
        make(cache, [])
    message = str(failure.value)
    assert "\n" not in message
    assert "No matching distribution found for no-such-package-anywhere==1" in message
    log = environment_folder("auto-gptq", cache).with_suffix(".log")
    assert message.endswith(f"see {log}")
    assert "no-such-package-anywhere" in log.read_text()
    assert not environment_folder("auto-gptq", cache).exists()


def test_an_interrupted_making_leaves_no_environment(requirements, tmp_path, monkeypatch):
    cache = tmp_path / "cache"

    def interrupted(name, command, log):
        environment_folder("auto-gptq", cache).mkdir(parents=True, exist_ok=True)
        raise KeyboardInterrupt

    monkeypatch.setattr(environments, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(cache, [])
    assert not environment_folder("auto-gptq", cache).exists()


def test_a_python_that_is_not_there_is_one_line(requirements, tmp_path):
    with pytest.raises(CompressionError, match=r"backend auto-gptq: /no/python cannot be started"):
        make(tmp_path / "cache", [], python="/no/python")


def test_a_cache_that_cannot_be_written_is_one_line(requirements, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CompressionError, match="choose another cache"):
        make(tmp_path / "file", [])


def test_every_shipped_pin_is_exact():
    for name, library in LIBRARIES.items():
        if library.isolated:
            for file in environments.REQUIREMENTS.glob(f"{name}*.txt"):
                lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
                assert all("==" in line for line in lines), file
