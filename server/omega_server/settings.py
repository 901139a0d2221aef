"""Command line and environment, read once.

Precedence: flag, environment (the original system's names), configuration file, default of the schema. Every value is
checked here or by the schema; none is ignored. What only a new process can change becomes `BootConfig`; what may change
while requests run becomes an override of the configuration file.
"""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_type_hints

from omega_schema import limits
from omega_schema.server_config import BootConfig, ConfigError
from omega_server import __version__
from omega_server.live_config import configure


class SettingsError(Exception):
    """A flag or variable that cannot be used. Its text is one line that names it."""


@dataclass(frozen=True)
class Settings:
    """Everything that is fixed while the process lives.

    Attributes:
        boot: what the engines are started with.
        overrides: live fields that flags or environment hold fast, by path, such as batching.maxBatchSize.
        host: address to listen on.
        port: TCP port to listen on.
        drain_seconds: how long running requests may go on after SIGTERM.
        config_file: the live configuration.
        api_keys_dir: directory whose every file is an API key.
        api_key: one more API key.
        log_format: how log lines look.
    """

    boot: BootConfig
    overrides: Mapping[str, Any] = field(default_factory=dict)
    host: str = "0.0.0.0"  # noqa: S104 - a server in a pod is meant to be reached
    port: int = 8000
    drain_seconds: int = 120
    config_file: Path | None = None
    api_keys_dir: Path | None = None
    api_key: str | None = field(default=None, repr=False)
    log_format: Literal["text", "json"] = "text"


@dataclass(frozen=True)
class Option:
    """One value that a user may set.

    Attributes:
        env: its environment variable; the flag is the same in small letters with dashes.
        target: a field of BootConfig or Settings, or the path of a live field.
        parse: text -> value; raises ValueError with words that follow "must be".
        help: what it is, with its unit.
        flag: False for secrets, which must not stand on a command line that other users can list.
    """

    env: str
    target: str
    parse: Callable[[str], Any]
    help: str
    flag: bool = True

    @property
    def name(self) -> str:
        """How the flag is written."""
        return "--" + self.env.lower().replace("_", "-")


def _text(value: str) -> str:
    return value


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        if not (value.isascii() and value.isdigit() and len(value) < 20 and least <= int(value) <= most):
            raise ValueError(f"a whole number from {least} to {most}")
        return int(value)

    return parse


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError("a number") from None


def _switch(value: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if value.lower() not in words:
        raise ValueError("1 or 0")
    return words[value.lower()]


def _one_of(cls: type, name: str) -> Callable[[str], str]:
    words = get_args(get_type_hints(cls)[name])

    def parse(value: str) -> str:
        if value not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return value

    return parse


_ANY = _whole(0, 2**31 - 1)  # live fields have their bounds in the schema

BOOT = (
    Option("MODEL_PATH", "model_path", _text, "directory of the checkpoint"),
    Option("MODEL_NAME", "model_name", _text, "model id that clients use (default: name of the directory)"),
    Option("MAX_MODEL_LENGTH", "max_length", _whole(16, limits.MAX_MODEL_LENGTH), "prompt and answer, in tokens"),
    Option("DTYPE", "dtype", _one_of(BootConfig, "dtype"), "bfloat16, float16 or float32"),
    Option("QUANTIZATION", "quantization", _one_of(BootConfig, "quantization"), "none, int8 or int4"),
    Option("GPU_COUNT", "gpu_count", _whole(0, limits.MAX_GPUS), "GPUs; on cpu engine processes"),
    Option("TENSOR_PARALLEL", "tensor_parallel", _whole(1, limits.MAX_GPUS), "GPUs per engine"),
    Option("DEVICE", "device", _one_of(BootConfig, "device"), "cuda or cpu"),
)
PROCESS = (
    Option("HOST", "host", _text, "address to listen on"),
    Option("PORT", "port", _whole(0, 65535), "TCP port to listen on; 0 takes a free one and logs it"),
    Option("DRAIN_SECONDS", "drain_seconds", _whole(0, 3600), "time for running requests after SIGTERM, in seconds"),
    Option("CONFIG_FILE", "config_file", Path, "live configuration, watched for changes"),
    Option("API_KEYS_DIR", "api_keys_dir", Path, "directory whose every file is an API key, watched for changes"),
    Option("API_KEY", "api_key", _text, "one more API key", flag=False),
    Option("LOG_FORMAT", "log_format", _one_of(Settings, "log_format"), "text or json"),
)
LIVE = (
    Option("MAX_BATCH_SIZE", "batching.maxBatchSize", _ANY, "requests that an engine answers at once"),
    Option("BATCH_TIMEOUT_MS", "batching.batchTimeoutMs", _ANY, "wait for more requests, in milliseconds"),
    Option("MAX_IMAGE_SIZE", "images.maxSize", _ANY, "longer side of a picture as the model sees it, in pixels"),
    Option("MAX_IMAGES_PER_REQUEST", "images.maxPerRequest", _ANY, "pictures per request"),
    Option("ALLOW_REMOTE_IMAGES", "images.allowRemote", _switch, "1: fetch pictures from http(s) addresses"),
    Option("MAX_NEW_TOKENS_DEFAULT", "generation.defaults.maxNewTokens", _ANY, "longest answer, in tokens"),
    Option("TOP_K_DEFAULT", "generation.defaults.topK", _ANY, "likeliest tokens to draw from"),
    Option("REPETITION_PENALTY_DEFAULT", "generation.defaults.repetitionPenalty", _number, "1 means none"),
)


def read(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Settings:
    """Settings of `omega-server serve`.

    Args:
        argv: the command line after the command's name.
        environ: by default the process's own.

    Raises:
        SettingsError: a flag is unknown, or a value is missing or bad.
    """
    environ = os.environ if environ is None else environ
    flags = vars(_parser().parse_args(argv))
    boot = _boot(_values(BOOT, flags, environ))
    process = _values(PROCESS, flags, environ)
    overrides = _values(LIVE, flags, environ)
    for option in LIVE:
        if option.target in overrides:
            try:
                configure(b"{}", {option.target: overrides[option.target]})
            except ConfigError as error:
                raise SettingsError(f"{option.env} (or {option.name}): {error}") from None
    try:
        configure(b"{}", overrides)
    except ConfigError as error:
        raise SettingsError(str(error)) from None
    settings = Settings(boot=boot, overrides=overrides, **process)
    _check_paths(settings)
    return settings


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; see omega-server serve --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="omega-server serve", allow_abbrev=False, description="Serve a vision-language model.")
    parser.add_argument("--version", action="version", version=__version__)
    defaults = {item.name: item.default for cls in (BootConfig, Settings) for item in fields(cls)}
    for option in (*BOOT, *PROCESS, *LIVE):
        if option.flag:
            default = defaults.get(option.target)
            note = f" (default: {default})" if isinstance(default, str | int) else ""
            text = f"{option.help}{note}; environment: {option.env}"
            parser.add_argument(option.name, dest=option.env, metavar="VALUE", help=text)
    return parser


def _values(options: Sequence[Option], flags: Mapping[str, str | None], environ: Mapping[str, str]) -> dict[str, Any]:
    values = {}
    for option in options:
        flag = flags.get(option.env)
        text = environ.get(option.env) if flag is None else flag
        if text is None:
            continue
        where = option.env if flag is None else option.name
        if not text:
            raise SettingsError(f"{where} is empty; give it a value or leave it out")
        try:
            values[option.target] = option.parse(text)
        except ValueError as error:
            raise SettingsError(f'{where} is "{text}", but must be {error}') from None
    return values


def _boot(values: dict[str, Any]) -> BootConfig:
    if "model_path" not in values:
        raise SettingsError("no model: set --model-path (or MODEL_PATH) to the directory of a checkpoint")
    path = Path(values["model_path"])
    if not (path / "config.json").is_file():
        raise SettingsError(f"--model-path {path} is not a checkpoint: it is no directory with a config.json")
    boot = BootConfig(**{"model_name": path.resolve().name, **values})
    if boot.gpu_count == 0 and boot.device == "cuda":
        raise SettingsError("--gpu-count 0 needs --device cpu")
    if max(boot.gpu_count, 1) % boot.tensor_parallel:
        raise SettingsError(f"--tensor-parallel {boot.tensor_parallel} does not divide --gpu-count {boot.gpu_count}")
    return boot


def _check_paths(settings: Settings) -> None:
    if settings.config_file and not settings.config_file.is_file():
        raise SettingsError(f"CONFIG_FILE {settings.config_file} does not exist")
    if settings.api_keys_dir and not settings.api_keys_dir.is_dir():
        raise SettingsError(f"API_KEYS_DIR {settings.api_keys_dir} is not a directory")
