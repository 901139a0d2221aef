"""Flags beat environment beats file beats default, and no value is ignored."""

from pathlib import Path

import pytest

from omega_schema.server_config import BootConfig
from omega_server.settings import BOOT, LIVE, PROCESS, Settings, SettingsError, read


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A directory that looks like a checkpoint."""
    directory = tmp_path / "my-model"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    return str(directory)


def test_defaults(model: str) -> None:
    """The least that must be said is where the model is."""
    settings = read([], {"MODEL_PATH": model})
    assert settings == Settings(boot=BootConfig(model_path=model, model_name="my-model"))
    assert settings.boot.max_length == 8192


def test_original_docker_run(model: str) -> None:
    """The original system's variables and flags, as its write-up starts it."""
    environ = {"GPU_COUNT": "8", "MAX_MODEL_LENGTH": "8192", "MAX_BATCH_SIZE": "2", "API_KEY": "secure-token",
               "BATCH_TIMEOUT_MS": "10", "MAX_IMAGE_SIZE": "1024", "MAX_IMAGES_PER_REQUEST": "10",
               "ALLOW_REMOTE_IMAGES": "1", "MAX_NEW_TOKENS_DEFAULT": "512", "TOP_K_DEFAULT": "50",
               "REPETITION_PENALTY_DEFAULT": "1.0"}  # fmt: skip
    settings = read(["--gpu-count", "8", "--model-path", model, "--max-model-length", "8192"], environ)
    assert (settings.boot.gpu_count, settings.boot.engines, settings.api_key) == (8, 8, "secure-token")
    assert settings.overrides["batching.maxBatchSize"] == 2
    assert settings.overrides["images.allowRemote"] is True
    assert "secure-token" not in repr(settings)


def test_flag_beats_environment(model: str) -> None:
    """What stands on the command line counts."""
    settings = read(
        ["--gpu-count", "2", "--max-batch-size=4"], {"MODEL_PATH": model, "GPU_COUNT": "1", "MAX_BATCH_SIZE": "3"}
    )
    assert settings.boot.gpu_count == 2
    assert settings.overrides["batching.maxBatchSize"] == 4


def test_every_boot_field_can_be_set() -> None:
    """No field of BootConfig was forgotten, and no option is there twice."""
    assert {option.target for option in BOOT} == set(BootConfig.__dataclass_fields__)
    names = [option.env for option in (*BOOT, *PROCESS, *LIVE)]
    assert len(names) == len(set(names))
    assert {option.target for option in PROCESS} == set(Settings.__dataclass_fields__) - {"boot", "overrides"}


@pytest.mark.parametrize(
    ("flags", "environ", "words"),
    [
        (["--nonsense", "1"], {}, "--nonsense"),
        (["--gpu"], {}, "--gpu"),
        (["--gpu-count"], {}, "--gpu-count"),
        ([], {"GPU_COUNT": "eight"}, 'GPU_COUNT is "eight"'),
        ([], {"GPU_COUNT": "9"}, "from 0 to 8"),
        ([], {"GPU_COUNT": "-1"}, "GPU_COUNT"),
        ([], {"GPU_COUNT": "\u0663"}, "GPU_COUNT"),
        ([], {"GPU_COUNT": "3", "TENSOR_PARALLEL": "2"}, "does not divide"),
        ([], {"GPU_COUNT": "0"}, "--device cpu"),
        ([], {"DTYPE": "fp8"}, "bfloat16, float16, float32"),
        ([], {"MAX_BATCH_SIZE": "0"}, "MAX_BATCH_SIZE"),
        ([], {"MAX_BATCH_SIZE": "2.5"}, "MAX_BATCH_SIZE"),
        ([], {"MAX_IMAGE_SIZE": "999999"}, "images.maxSize"),
        ([], {"ALLOW_REMOTE_IMAGES": "perhaps"}, "1 or 0"),
        ([], {"REPETITION_PENALTY_DEFAULT": "nan"}, "REPETITION_PENALTY_DEFAULT"),
        ([], {"REPETITION_PENALTY_DEFAULT": "x"}, "a number"),
        ([], {"MAX_NEW_TOKENS_DEFAULT": "8000"}, "raise the limit"),
        ([], {"PORT": "70000"}, "from 0 to 65535"),
        ([], {"API_KEY": ""}, "API_KEY is empty"),
        ([], {"LOG_FORMAT": "xml"}, "text, json"),
        ([], {"CONFIG_FILE": "nowhere.json"}, "nowhere.json does not exist"),
        ([], {"API_KEYS_DIR": "nowhere"}, "nowhere is not a directory"),
        (["--model-path", "nowhere"], {}, "config.json"),
    ],
)
def test_refused(model: str, flags: list[str], environ: dict[str, str], words: str) -> None:
    """A value that cannot be used is named, in one line."""
    with pytest.raises(SettingsError) as caught:
        read(flags, {"MODEL_PATH": model, **environ})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_model() -> None:
    """Without a model it says how to name one."""
    with pytest.raises(SettingsError, match="--model-path"):
        read([], {})


def test_key_is_no_flag(model: str) -> None:
    """A key on the command line could be read by everybody on the machine."""
    with pytest.raises(SettingsError, match="--api-key"):
        read(["--api-key", "x"], {"MODEL_PATH": model})


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    """--help lists what can be set."""
    with pytest.raises(SystemExit):
        read(["--help"], {})
    text = capsys.readouterr().out
    for option in (*BOOT, *PROCESS, *LIVE):
        assert (f"{option.name} VALUE" in text) == option.flag
