"""The process of an engine whose vision tower stands still for ever, once: as soon as it has to look at something and a file called
`hang` lies beside the model. That is what a fault of a GPU or of its driver does, and nothing else brings it about.
"""

import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from omega_server.engine import worker
from omega_server.engine.engine import Engine
from omega_server.engine.messages import WorkerConfig


def main(config: WorkerConfig, pipe: Connection) -> None:
    """Run the engine."""
    file = Path(config.boot.model_path).parent / "hang"

    def hang(*_: Any) -> None:
        if file.exists():
            file.unlink()
            threading.Event().wait()

    class Hanging(Engine):
        def __init__(self, model: Any, *arguments: Any) -> None:
            super().__init__(model, *arguments)
            model.model.visual.blocks[1].register_forward_pre_hook(hang)

    worker.Engine = Hanging  # type: ignore[misc]
    worker.main(config, pipe)
