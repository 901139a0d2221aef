"""``make demo``: a cluster, the images, the chart, one resource, and ten questions about pictures.

    python demo/run.py up      all of it; again, only what is missing
    python demo/run.py down    take away what `up` brought

With KUBECONFIG set, that cluster is used and nothing but the demo's release and namespaces is touched.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0:0] = [str(ROOT / "demo"), str(ROOT / "tools")]

from stages import cluster, host, images, questions, release  # noqa: E402
from stages.console import Console, DemoError  # noqa: E402

FIRST_RUN = """\
  The first run builds what this machine does not have yet: Kubernetes and its tools from source, and the two
  images, for which torch and CUDA are downloaded (3 GB). About {minutes} minutes on two cores. Later runs take about one.
"""


def up(console: Console) -> int:
    """Bring everything up, ask, and return the exit code."""
    started = time.monotonic()
    foreign = cluster.foreign()
    minutes = 0 if foreign else cluster.minutes_to_build()
    console.say(f"\n{console.paint('Omega VLM', 'bold')}: one resource in, one OpenAI endpoint out.\n")
    if minutes:
        console.say(FIRST_RUN.format(minutes=minutes))
    with console.stage("host") as stage:
        stage.summary = host.describe(first=minutes > 0, own_cluster=foreign is None)
    with console.stage("tools") as stage:
        tools = cluster.tools(stage.follow)
        stage.summary = f"kubectl and helm{'' if foreign else ', and what a node needs'}"
    with console.stage("cluster") as stage:
        here = cluster.foreign_cluster(foreign, tools) if foreign else cluster.own_cluster(tools, stage.follow)
        stage.summary = cluster.describe(here)
    registry = images.registry_of(here)
    with console.stage("images") as stage:
        for image in images.ALL:
            images.provide(here, image, registry, stage.follow)
        stage.summary = ", ".join(image.name for image in images.ALL)
    with console.stage("chart") as stage:
        stage.summary = release.install(here, registry)
    with console.stage("resource") as stage:
        stage.summary = release.apply(here, registry)
    with console.stage("ready") as stage:
        resource = release.wait_ready(here, stage.show)
        stage.summary = f"{resource['status']['ready']} pods serve at {resource['status']['endpoint']}"
    console.say()
    with questions.address_of_service(here) as address:
        right, asked = questions.ask_all(console, address, release.NAME)
    console.say(f"\ndemo: {right} of {asked} answers right\n")
    console.say(f"Everything took {time.monotonic() - started:.0f} s. What to try next:\n")
    for command in next_steps(here, address):
        console.say(f"  {command}")
    console.say()
    return 0 if right >= questions.ENOUGH * asked else 1


def next_steps(here: cluster.Cluster, address: str) -> tuple[str, ...]:
    """Commands to go on with, as they are to be typed."""
    namespace, name = release.NAMESPACE, release.NAME
    setup = (f"export PATH={here.tools}:$PATH", f"export KUBECONFIG={here.kubeconfig}") if here.own else ()
    tunnel: tuple[str, ...] = ()
    if "//127.0.0.1:" in address:  # the demo's own tunnel ends with the demo
        tunnel, address = (f"kubectl -n {namespace} port-forward service/{name} 8000:80 &",), "http://127.0.0.1:8000"
    body = f'{{"model": "{name}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'
    return (
        *setup,
        f"kubectl -n {namespace} get ovlm",
        f"kubectl -n {namespace} describe ovlm {name}",
        f'kubectl -n {namespace} patch ovlm {name} --type=merge -p \'{{"spec":{{"images":{{"maxPerRequest":3}}}}}}\'',
        *tunnel,
        f"curl {address}/v1/chat/completions -H 'Content-Type: application/json' -d '{body}'",
        "make demo-down",
    )


def down(console: Console) -> int:
    """Take away what `up` brought."""
    foreign = cluster.foreign()
    if foreign:
        with console.stage("release") as stage:
            release.remove(cluster.foreign_cluster(foreign, cluster.tools(stage.follow)))
            stage.summary = "the resource, the release and their namespaces are gone"
    else:
        with console.stage("cluster") as stage:
            cluster.end(stage.follow)
            stage.summary = "ended; tools and images stay cached for the next time"
    return 0


def main(arguments: list[str]) -> int:
    """Do what ``arguments`` say; returns the exit code."""
    commands = {"up": up, "down": down}
    if len(arguments) != 1 or arguments[0] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    console = Console()
    try:
        return commands[arguments[0]](console)
    except DemoError as error:
        console.failure(error)
        return 1
    except KeyboardInterrupt:
        console.say("\n  Interrupted. The same command goes on where this one stopped.")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
