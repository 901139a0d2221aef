"""The command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cluster
from cluster import base_image, definitions, go_tools, host_packages, images, lifecycle
from cluster.places import PLACES
from cluster.shell import ClusterError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        return _run(given)
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cluster: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130


def _run(given: argparse.Namespace) -> int:
    match given.command:
        case "up":
            lifecycle.up(given.fake_nodes, given.gpus_per_node)
        case "down":
            lifecycle.down()
        case "status":
            return 0 if lifecycle.status() else 1
        case "kubeconfig":
            if not PLACES.kubeconfig.exists():
                raise ClusterError("the cluster is down; start it with: make cluster")
            print(PLACES.kubeconfig)
        case "tools":
            print(go_tools.ensure(given.names or tuple(go_tools.ALL)))
        case "definitions":
            print(definitions.ensure())
        case "load-image":
            for file in given.files:
                images.load(file)
        case "build-image":
            images.build(given.dockerfile, given.tag, given.build_arg)
        case "base-image":
            host_packages.ensure()
            print(base_image.ensure())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cluster", description=cluster.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    up = commands.add_parser("up", help="start the cluster, or bring it up to date")
    up.add_argument("--fake-nodes", type=_count, default=0, metavar="N", help="nodes on which pods run in name only")
    up.add_argument("--gpus-per-node", type=_count, default=8, metavar="G", help="GPUs that each node advertises")
    commands.add_parser("down", help="end the cluster; images and tools stay cached")
    commands.add_parser("status", help="what runs")
    commands.add_parser("kubeconfig", help="print the path of the administrator's kubeconfig")
    tools = commands.add_parser("tools", help="build tools, print the directory that holds them")
    tools.add_argument("names", nargs="*", metavar="NAME", help=", ".join(go_tools.ALL))
    commands.add_parser("definitions", help="print the directory of other projects' CustomResourceDefinitions")
    load = commands.add_parser("load-image", help="import oci-archives or docker-archives")
    load.add_argument("files", nargs="+", type=Path, metavar="FILE")
    build = commands.add_parser("build-image", help="build with buildah and import")
    build.add_argument("dockerfile", type=Path, metavar="DOCKERFILE")
    build.add_argument("tag", metavar="TAG")
    build.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    commands.add_parser("base-image", help="print the base image that builds use here")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number
