"""A prompt process: conversations come through its pipe, prompts go back, one at a time.

When the server is gone it ends at once, whatever it is doing.
"""

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from multiprocessing.connection import Connection

import torch

from omega_server.engine.grammar_limits import validate
from omega_server.engine.memory_file import MemoryFile
from omega_server.engine.pixels import header, pixels
from omega_server.media.clip import Clip, ClipHeader
from omega_server.media.picture import Picture
from omega_server.model.checkpoint import ModelError
from omega_server.prompt.messages import Answer, GrammarJob, Header, Job, MediumJob, Ready, Refused, Shown
from omega_server.prompt.processor import Processor


def main(model_path: str, max_length: int, pipe: Connection) -> None:
    """Build prompts until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the server decides what it means
    threading.Thread(target=_end_with_the_server, name="parent", daemon=True).start()
    torch.set_num_threads(1)  # several processes share the work, and engines want the cores
    try:
        processor = Processor(model_path, max_length)
    except ModelError as error:
        pipe.send(Refused(str(error)))
        return
    tokenizer = processor.tokenizer.to_str()
    ready = Ready(
        processor.max_length, processor.vocabulary, tokenizer, processor.videos.defaults, processor.knows_tools()
    )
    pipe.send(ready)
    try:
        while True:
            job = pipe.recv()
            rgb = MemoryFile.receive(pipe) if isinstance(job, MediumJob) else None
            answer, file = _work(processor, job, rgb)
            pipe.send(answer)
            if file is not None:
                file.send(pipe)
    except (EOFError, OSError):
        return  # the server is gone, or has given this process up


def _end_with_the_server() -> None:
    server = multiprocessing.parent_process()
    assert server is not None
    server.join()
    os._exit(0)


def _work(processor: Processor, job: Job, rgb: MemoryFile | None) -> tuple[Answer, MemoryFile | None]:
    try:
        if isinstance(job, MediumJob):
            assert rgb is not None
            medium = processor.medium(_shown(job.header, rgb.map()[:]), job.key)
            return header(medium), MemoryFile.of([pixels(medium)])
        if isinstance(job, GrammarJob):
            validate(job.grammar)
            return None, None
        work = processor.render if job.wanted == "text" else processor.tokens
        return work(job.turns, job.tools), None
    except Exception as error:  # noqa: BLE001 - whoever asked gets it, whatever it is
        return _portable(error), None


def _shown(header: Header, rgb: bytes) -> Shown:
    if isinstance(header, ClipHeader):
        return Clip(header.width, header.height, rgb, header.indices, header.total, header.fps, header.exact)
    return Picture(header.width, header.height, rgb, header.bounds)


# Whose exceptions the server's process can read: others may need torch there.
_READABLE = {"builtins", "jinja2", "omega_server"}


def _portable(error: Exception) -> Exception:
    """The same exception, if it can go through the pipe, else its name and text; with the traceback as a note."""
    note = "In the prompt process:\n" + traceback.format_exc()
    if type(error).__module__.partition(".")[0] in _READABLE:
        try:
            same: Exception = pickle.loads(pickle.dumps(error))  # noqa: S301 - the bytes are our own
        except Exception as reason:  # noqa: BLE001 - a class may do anything when it is copied
            note += f"It cannot be sent as it is: {reason}"
        else:
            same.add_note(note)
            return same
    other = RuntimeError(f"{type(error).__name__}: {error}")
    other.add_note(note)
    return other
