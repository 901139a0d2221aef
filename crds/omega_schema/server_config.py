"""The configuration of one server: LIVE (a file that may change under the running server) and BOOT (fixed at start)."""

import hashlib
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import ValidationError

from omega_schema.errors import ConfigError, explain
from omega_schema.resource import Batching, Declared, Generation, Images, Spec, Video

__all__ = ["BootConfig", "ConfigError", "ServerConfig", "config_hash"]


class ServerConfig(Declared):
    """The LIVE configuration, in the very models of the resource.

    The version is part of the file because operator and server are upgraded apart.
    """

    version: Literal["v1"] = "v1"
    """Version of this format."""

    generation: Generation = Generation()
    images: Images = Images()
    video: Video = Video()
    batching: Batching = Batching()

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """How much the server logs."""

    @classmethod
    def of(cls, spec: Spec) -> Self:
        """What a resource says about the running server."""
        return cls(
            generation=spec.generation,
            images=spec.images,
            video=spec.video,
            batching=spec.batching,
            log_level=spec.log_level,
        )

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Read a configuration file.

        Raises:
            ConfigError: the text is no JSON, or a field is unknown or out of bounds.
        """
        try:
            return cls.model_validate_json(text, by_alias=True, by_name=False)
        except ValidationError as error:
            raise ConfigError(explain(error)) from None

    def to_json(self) -> str:
        """Canonical text: the same configuration always gives the same bytes."""
        return self.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n"


def config_hash(text: str | bytes) -> str:
    """Short name of a configuration: the first 12 hexadecimal digits of the SHA-256 of its bytes."""
    data = text.encode() if isinstance(text, str) else text
    return hashlib.sha256(data).hexdigest()[:12]


@dataclass(frozen=True)
class BootConfig:
    """What a server process is started with; a change needs a new process.

    The server fills it from flags and environment and checks it there, with words that name the flag.
    """

    model_path: str
    """Directory of the checkpoint."""

    model_name: str
    """The model id that clients use."""

    max_length: int = 8192
    """Longest prompt and answer together, in tokens."""

    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    quantization: Literal["none", "int8", "int4"] = "none"

    gpu_count: int = 1
    """GPUs of the pod; on cpu engine processes, where 0 means one."""

    tensor_parallel: int = 1
    """GPUs per engine."""

    device: Literal["cuda", "cpu"] = "cuda"

    @property
    def engines(self) -> int:
        """Engine processes of this server."""
        return max(self.gpu_count // self.tensor_parallel, 1)
