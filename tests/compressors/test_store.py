"""The store of artefacts: made once, found again, never believed unchecked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from compressors import store as store_module
from compressors.errors import CompressionError
from compressors.recipe import parse_recipe
from compressors.store import MANIFEST, ArtefactStore, default_threads, key_parts

RECIPE = parse_recipe("rtn:bits=4,group=32")


@pytest.fixture
def store(tmp_path):
    return ArtefactStore(tmp_path / "artefacts")


def folders(store: ArtefactStore) -> list[str]:
    return sorted(p.name for p in store.root.iterdir() if p.is_dir() and p.name != "hashes")


def test_an_artefact_is_made_once_and_found_again(store, dense):
    steps = []
    first = store.ensure(dense, RECIPE, threads=1, progress=lambda *step: steps.append(step))
    second = store.ensure(dense, RECIPE, threads=1)
    assert first.made
    assert not second.made
    assert steps == [(1, 2, "model.layers.0"), (2, 2, "model.layers.1")]
    assert second == replace(first, made=False)
    assert first.checkpoint.name == "tiny (rtn-4bit-g32)"
    assert first.audit.problems == ()
    assert len(folders(store)) == 1


def test_two_stores_make_the_same_checkpoint(dense, tmp_path):
    recipe = parse_recipe("gptq:bits=3,group=32,samples=4,length=32")
    one, other = (ArtefactStore(tmp_path / name).ensure(dense, recipe, threads=1) for name in ("a", "b"))
    assert one.made
    assert other.made
    assert one.checkpoint.fingerprint == other.checkpoint.fingerprint != dense.fingerprint


def test_a_warm_store_imports_no_model_library(store, dense):
    store.ensure(dense, RECIPE, threads=1)
    program = (
        "import sys; from pathlib import Path\n"
        "from compressors.models import checkpoint_at\n"
        "from compressors.recipe import parse_recipe\n"
        "from compressors.store import ArtefactStore\n"
        "dense = checkpoint_at(Path(sys.argv[1]), 'tiny', Path(sys.argv[2]))\n"
        "found = ArtefactStore(Path(sys.argv[2])).ensure(dense, parse_recipe('rtn:bits=4,group=32'), threads=1)\n"
        "assert not found.made\n"
        "assert not {'torch', 'transformers', 'safetensors.torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, dense.path, store.root], check=True)


def spoil_byte(folder):
    file = folder / "checkpoint" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def spoil_manifest(folder):
    (folder / MANIFEST).write_text('{"half": ')


def spoil_audit(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["audit"]["layers"]
    (folder / MANIFEST).write_text(json.dumps(manifest))


def spoil_key(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["key"]["dense"] = "another"
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_byte,
        spoil_manifest,
        spoil_audit,
        spoil_key,
        lambda folder: (folder / MANIFEST).unlink(),
        lambda folder: (folder / MANIFEST).write_text("[]"),
        lambda folder: (folder / "checkpoint" / "model.safetensors").unlink(),
        lambda folder: (folder / "checkpoint" / "added.json").write_text("{}"),
        lambda folder: shutil.rmtree(folder / "checkpoint"),
    ],
    ids=["byte", "manifest", "audit", "key", "no manifest", "list", "no weights", "added file", "no checkpoint"],
)
def test_a_spoiled_artefact_is_thrown_away_and_made_again(store, dense, spoil):
    first = store.ensure(dense, RECIPE, threads=1)
    spoil(store.root / folders(store)[0])
    again = store.ensure(dense, RECIPE, threads=1)
    assert again.made
    assert again.checkpoint.fingerprint == first.checkpoint.fingerprint
    assert not store.ensure(dense, RECIPE, threads=1).made


def test_what_a_killed_process_left_behind_is_removed(store, dense):
    store.ensure(dense, RECIPE, threads=1)
    name = folders(store)[0]
    shutil.rmtree(store.root / name)
    (store.root / f".{name}.half").mkdir()
    assert store.ensure(dense, RECIPE, threads=1).made
    assert folders(store) == [name]


def test_a_failure_leaves_nothing_behind(store, dense, monkeypatch):
    monkeypatch.setattr("compressors.rtn.quantise", lambda *_: (_ for _ in ()).throw(CompressionError("no luck")))
    with pytest.raises(CompressionError, match="no luck"):
        store.ensure(dense, RECIPE, threads=1)
    assert folders(store) == []


def test_a_compressor_that_does_nothing_is_never_believed(store, dense, monkeypatch):
    from compressors.layerwise import Solution

    monkeypatch.setattr("compressors.magnitude.prune", lambda weights, *_: [Solution(w.clone()) for w in weights])
    with pytest.raises(CompressionError, match="dense, though the recipe is 'magnitude:pattern=2:4"):
        store.ensure(dense, parse_recipe("magnitude:pattern=2:4"), threads=1)
    assert folders(store) == []


def test_several_processes_make_one_artefact(store, dense):
    program = (
        "import sys; from pathlib import Path\n"
        "from compressors.models import Checkpoint; from compressors.recipe import parse_recipe\n"
        "from compressors.store import ArtefactStore\n"
        "dense = Checkpoint(sys.argv[1], Path(sys.argv[2]), sys.argv[3])\n"
        "print(ArtefactStore(Path(sys.argv[4])).ensure(dense, parse_recipe(sys.argv[5]), threads=1).made)\n"
    )
    command = [sys.executable, "-c", program, dense.name, dense.path, dense.fingerprint, store.root, str(RECIPE)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [process.communicate(timeout=300)[0].split()[-1] for process in running]
    assert sorted(answers) == ["False", "False", "True"]
    assert len(folders(store)) == 1


def test_everything_that_can_move_a_bit_is_in_the_key(dense, tmp_path, monkeypatch):
    text = tmp_path / "a.txt"
    text.write_text("one")
    recipe = parse_recipe(f"gptq:calibration={text}")
    base = key_parts(dense, recipe, "auto", 2)
    assert base["torch"] != "absent"
    assert base["dtype"] == "bfloat16"
    assert key_parts(dense, recipe, "cuda:1", 2)["device"] == "cuda"
    assert key_parts(dense, recipe, "auto", 3) != base
    assert key_parts(replace(dense, fingerprint="x"), recipe, "auto", 2) != base
    assert key_parts(dense, parse_recipe(f"gptq:calibration={text},seed=1"), "auto", 2) != base
    text.write_text("two")
    assert key_parts(dense, recipe, "auto", 2)["calibration"] != base["calibration"]
    assert "calibration" not in key_parts(dense, RECIPE, "auto", 2)
    monkeypatch.setattr(store_module, "_LIBRARIES", ("no-such-library",))
    assert key_parts(dense, recipe, "auto", 2)["no-such-library"] == "absent"


def test_a_store_that_cannot_be_written_ends_in_one_line(dense, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CompressionError, match=r"store .*file/store: Not a directory; make room there"):
        ArtefactStore(tmp_path / "file" / "store").ensure(dense, RECIPE, threads=1)


def test_default_threads_are_few_and_at_least_one():
    assert 1 <= default_threads() <= store_module.MOST_THREADS
