"""Who gives way on the CPU: what prepares prompts, to the steps of engines."""

import io
import os

from PIL import Image

from omega_server.courtesy import NICENESS
from omega_server.media.decode import Limits
from omega_server.media.fetch import Encoded
from omega_server.media.pool import DecodePool
from omega_server.prompt.builder import PromptBuilder


def niceness(pid):
    """Of a process."""
    return os.getpriority(os.PRIO_PROCESS, pid)


def test_the_vision_tower_gives_way_to_the_steps(dense):
    """The tower's thread has less weight than the one that it was made in, which keeps its own."""
    before = niceness(0)
    engine = dense.engine()
    assert engine.vision._thread.submit(niceness, 0).result() == before + NICENESS
    assert niceness(0) == before


def test_prompt_processes_give_way(model_path):
    """A process that builds prompts has less weight than the server."""
    builder = PromptBuilder(model_path, 1024, processes=1)
    (process,) = builder._processes
    assert niceness(process.pid) == niceness(0) + NICENESS
    builder.close()


async def test_decoding_processes_give_way():
    """A process that decodes pictures has less weight than the server."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    pool = DecodePool(1)
    await pool.decode(Encoded(file.getvalue(), base64=False), Limits(1 << 20, 64, 1 << 20))
    (process,) = pool._processes
    assert niceness(process.pid) == niceness(0) + NICENESS
    await pool.close()
