"""The configuration of one server."""

import hashlib
import json

import pytest

from omega_schema.resource import Batching, Images, Model, Spec
from omega_schema.server_config import BootConfig, ConfigError, ServerConfig, config_hash


def test_the_resource_becomes_the_file_and_back() -> None:
    """What a resource says is what the server reads."""
    spec = Spec(model=Model(source="path:///m"), images=Images(max_size=512), batching=Batching(max_batch_size=2))
    config = ServerConfig.of(spec)
    assert ServerConfig.parse(config.to_json()) == config
    assert config.images.max_size == 512
    assert json.loads(config.to_json())["batching"] == {"maxBatchSize": 2, "batchTimeoutMs": 0, "maxQueue": 256}


def test_an_empty_file_is_all_defaults() -> None:
    """A server without a file runs with the defaults of the resource."""
    assert ServerConfig.parse("{}") == ServerConfig()


def test_the_text_is_canonical() -> None:
    """Equal configurations give equal bytes, however they were written."""
    first = ServerConfig.parse('{"video": {"maxFrames": 8}, "images": {"maxSize": 512}}')
    second = ServerConfig.parse('{"version": "v1", "images": {"maxSize": 512}, "video": {"maxFrames": 8}}')
    assert first.to_json() == second.to_json()


def test_the_hash_is_of_the_bytes() -> None:
    """Operator and server compute the same name from the same bytes."""
    text = ServerConfig().to_json()
    assert config_hash(text) == config_hash(text.encode()) == hashlib.sha256(text.encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Invalid JSON"),
        ('{"images": 1 2}', "Invalid JSON: expected `,` or `}`"),
        ("[]", "must be of type object"),
        ('{"version": "v2"}', 'version: Unsupported value: supported values: "v1"'),
        ('{"images": {"maxSize": "big"}}', "images.maxSize: must be of type integer"),
        ('{"images": {"maxSize": 10}}', "images.maxSize: should be greater than or equal to 28"),
        ('{"images": {"max_size": 512}}', "images.max_size: unknown field"),
        ('{"images": {"maxPixels": 1000}}', "images: a picture of maxSize x maxSize must be allowed by maxPixels"),
        ('{"images": {"allowedHosts": [1]}}', "images.allowedHosts[0]: must be of type string"),
        ('{"images": {"fetchTimeout": "1h"}}', "images.fetchTimeout: must be from 100ms to 5m"),
        ('{"generation": {"limits": {"maxNewTokens": 1}}}', "lower the default or raise the limit"),
        ('{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1}', "and 2 more"),
    ],
)
def test_a_bad_file_is_refused_in_words(text: str, words: str) -> None:
    """The error names the field and says what to do, in one line."""
    with pytest.raises(ConfigError) as refusal:
        ServerConfig.parse(text)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_error_never_shows_the_value() -> None:
    """A value may be a secret that landed in the wrong field."""
    with pytest.raises(ConfigError) as refusal:
        ServerConfig.parse('{"logLevel": "sk-hunter2", "images": {"maxBytes": "sk-hunter2"}, "apiKey": "sk-hunter2"}')
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(("gpus", "together", "engines"), [(1, 1, 1), (8, 1, 8), (8, 4, 2), (0, 1, 1)])
def test_engines(gpus: int, together: int, engines: int) -> None:
    """One engine per group of GPUs, and one without any."""
    boot = BootConfig(model_path="m", model_name="m", gpu_count=gpus, tensor_parallel=together)
    assert boot.engines == engines
