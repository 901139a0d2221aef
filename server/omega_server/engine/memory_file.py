"""Bytes that one process hands to another without copying them: a file that exists in memory alone."""

import mmap
import os
import weakref
from collections.abc import Iterable
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle


class MemoryFile:
    """A file without a name. It needs no room in /dev/shm, and is gone when nobody has it open, however they ended.

    Attributes:
        descriptor: of the file; closed with this object.
    """

    def __init__(self, descriptor: int) -> None:
        """Take over an open file."""
        self.descriptor = descriptor
        self._close = weakref.finalize(self, os.close, descriptor)

    @classmethod
    def of(cls, parts: Iterable[bytes | memoryview]) -> "MemoryFile":
        """A new one, which holds these parts one after the other."""
        file = cls(os.memfd_create("omega", os.MFD_CLOEXEC))
        for part in parts:
            rest = memoryview(part).cast("B")
            while rest:
                rest = rest[os.write(file.descriptor, rest) :]
        return file

    @classmethod
    def receive(cls, pipe: Connection) -> "MemoryFile":
        """The one that comes through a pipe."""
        return cls(recv_handle(pipe))

    def send(self, pipe: Connection) -> None:
        """Hand it to whoever reads the pipe. It stays ours too."""
        send_handle(pipe, self.descriptor, os.getpid())  # whose process it is makes no difference on Linux

    def map(self) -> mmap.mmap:
        """Its bytes; they stay when the file is closed."""
        return mmap.mmap(self.descriptor, 0)

    def close(self) -> None:
        """Close it now."""
        self._close()
