"""omega-server convert: the copy has the experts as transformers 5 has them, and is complete or not there."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from omega_server.model import loader
from omega_server.model.convert import convert
from omega_server.model.experts_layout import ConvertError, has_model_layout

ROOT = Path(__file__).parents[3]
FORK = ROOT / "tests" / "oracle" / "checkpoints" / "omega17_vl_exp"
OFFICIAL = ROOT / "demo" / "model-moe"
EXPERTS = ("gate_up_proj", "down_proj")


def names(path: Path) -> list[str]:
    """What lies in a directory."""
    return sorted(file.name for file in path.iterdir())


def old_official(tmp_path: Path) -> Path:
    """The demo model as transformers 4.57 would have written it, in two files with an index."""
    path = tmp_path / "old"
    shutil.copytree(OFFICIAL, path)
    weights = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    old = {n: w.transpose(1, 2).contiguous() if n.endswith(EXPERTS) else w for n, w in weights.items()}
    places = {name: f"model-{1 + i % 2:05d}-of-00002.safetensors" for i, name in enumerate(old)}
    for file in set(places.values()):
        save_file({n: w for n, w in old.items() if places[n] == file}, path / file, metadata={"format": "pt"})
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return path


def logits(path: Path) -> torch.Tensor:
    """What a checkpoint answers to some tokens."""
    with torch.inference_mode():
        return loader.load(str(path), "float32", "cpu")(input_ids=torch.arange(10, 60)[None]).logits


def test_a_checkpoint_of_the_fork(tmp_path):
    """The copy is marked, computes the same, and what is not an expert is the same in it, byte for byte."""
    said = convert([str(FORK), str(tmp_path / "new")])
    assert said.startswith(f"{FORK} is in {tmp_path}/new in the layout of transformers 5 (6 weights turned")
    assert names(tmp_path / "new") == names(FORK)
    assert (tmp_path / "new" / "tokenizer.json").read_bytes() == (FORK / "tokenizer.json").read_bytes()
    before, after = (load_file(path / "model.safetensors") for path in (FORK, tmp_path / "new"))
    assert before.keys() == after.keys()
    assert all(torch.equal(w.transpose(1, 2) if n.endswith(EXPERTS) else w, after[n]) for n, w in before.items())
    config = json.loads((tmp_path / "new" / "config.json").read_bytes())
    assert config["text_config"].pop("experts_layout") == "transformers-5"
    assert config == json.loads((FORK / "config.json").read_bytes())
    assert torch.equal(logits(FORK), logits(tmp_path / "new"))
    with pytest.raises(ConvertError, match="has the layout of transformers 5 already: serve it as it is"):
        convert([str(tmp_path / "new"), str(tmp_path / "newer")])


def test_an_official_checkpoint_in_several_files(tmp_path):
    """Its shapes tell the layout, so it gets no mark; the index still fits."""
    old = old_official(tmp_path)
    assert not has_model_layout(old)
    (tmp_path / "new").mkdir()
    convert([str(old), str(tmp_path / "new")])
    assert has_model_layout(tmp_path / "new")
    assert (tmp_path / "new" / "config.json").read_bytes() == (old / "config.json").read_bytes()
    assert torch.equal(logits(OFFICIAL), logits(tmp_path / "new"))
    with pytest.raises(ConvertError, match="already"):
        convert([str(OFFICIAL), str(tmp_path / "newer")])


def test_an_omega_checkpoint_that_only_lacks_the_mark(tmp_path):
    """Experts that lie right already are copied; down says how they lie, although gate_up is square."""
    convert([str(FORK), str(tmp_path / "new")])
    config = json.loads((tmp_path / "new" / "config.json").read_bytes())
    del config["text_config"]["experts_layout"]
    (tmp_path / "new" / "config.json").write_text(json.dumps(config))
    assert "(0 weights turned" in convert([str(tmp_path / "new"), str(tmp_path / "marked")])
    assert torch.equal(logits(FORK), logits(tmp_path / "marked"))


def test_hidden_files_and_folders(tmp_path):
    """A folder of the checkpoint comes along, the notes of a download do not."""
    source = tmp_path / "source"
    shutil.copytree(FORK, source)
    for name in ("assets/a.txt", ".cache/b.txt"):
        (source / name).parent.mkdir()
        (source / name).write_text("x")
    convert([str(source), str(tmp_path / "new")])
    assert (tmp_path / "new" / "assets" / "a.txt").is_file()
    assert not (tmp_path / "new" / ".cache").exists()


def damage(path: Path, name: str) -> None:
    """Make a checkpoint bad in one way."""
    config = json.loads((path / "config.json").read_bytes())
    weights = path / "model.safetensors"
    match name:
        case "dense":
            config["model_type"] = "qwen3_vl"
        case "mark":
            config["text_config"]["experts_layout"] = "transformers-6"
        case "quantized":
            config["quantization_config"] = {"quant_method": "fp8"}
        case "shape":
            config["text_config"]["moe_intermediate_size"] = 20
        case "size":
            del config["text_config"]["moe_intermediate_size"]
        case "list":
            config = [config]
        case "cut":
            weights.write_bytes(weights.read_bytes()[:-1])
        case "short":
            weights.write_bytes(b"no")
        case "no experts":
            save_file({"a": torch.zeros(2)}, weights)
        case "mixed":
            tensors = load_file(weights)
            down = next(n for n in tensors if n.endswith("down_proj"))
            save_file(tensors | {down: tensors[down].transpose(1, 2).contiguous()}, weights)
    (path / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dense", "is of type 'qwen3_vl'; convertible are qwen3_vl_moe and omega17_vl_exp"),
        ("mark", "experts_layout is 'transformers-6'"),
        ("quantized", "is quantized: convert the checkpoint that it was made from"),
        ("shape", "which config.json does not explain"),
        ("size", "no moe_intermediate_size"),
        ("list", "not a checkpoint of a vision-language model"),
        ("cut", "model.safetensors is damaged: fetch it again"),
        ("short", "model.safetensors is damaged: fetch it again"),
        ("no experts", "has no weights of experts"),
        ("mixed", "has some experts in the layout of transformers 4 and some"),
    ],
)
def test_a_checkpoint_that_cannot_be_converted(tmp_path, name, words):
    """What is wrong is said, and nothing is written."""
    source = tmp_path / "source"
    shutil.copytree(FORK, source)
    damage(source, name)
    with pytest.raises(ConvertError, match=words) as error:
        convert([str(source), str(tmp_path / "new")])
    assert error.value.code == 2
    assert names(tmp_path) == ["source"]


def test_a_target_that_will_not_do(tmp_path, monkeypatch):
    """One that has something in it, or lies in the source, or in nothing, or has no room."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    for target, words in (
        (tmp_path / "full", "exists: name a directory that does not, or is empty"),
        (FORK / "new", "lies in"),
        (tmp_path / "none" / "new", "none is no directory: make it first"),
    ):
        with pytest.raises(ConvertError, match=words):
            convert([str(FORK), str(target)])
    with pytest.raises(ConvertError, match="is not a checkpoint: it is no directory"):
        convert([str(tmp_path / "none"), str(tmp_path / "new")])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(ConvertError, match="needs 1 MiB, but 0 MiB are free"):
        convert([str(FORK), str(tmp_path / "new")])


def test_a_target_that_fails_while_it_is_written(tmp_path, monkeypatch):
    """Half a copy does not stay."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(ConvertError, match="new cannot be written: No space left on device") as error:
        convert([str(FORK), str(tmp_path / "new")])
    assert error.value.code == 1
    assert names(tmp_path) == []


def test_the_command(tmp_path):
    """It says what it did, or what to do, and ends with 0 or 2."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "omega_server", "convert", *arguments]
        environ = {"PYTHONPATH": f"{ROOT}/server:{ROOT}/crds"}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=tmp_path)

    done = run(str(FORK), "new")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{FORK} is in new in the layout")
    again = run("new", "newer")
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr.strip() == ("omega-server: new has the layout of transformers 5 already: serve it as it is")
    missing = run("new")
    assert missing.returncode == 2
    assert "TARGET" in missing.stderr
