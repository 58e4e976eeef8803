"""A folder per tenant, out of which no path leads: the only place where tools touch files.

Names are never joined to a path that the kernel would resolve again. Each step is opened from the folder before it,
without following links, so that neither `..`, a link, nor somebody who swaps a folder for a link meanwhile leads out.
All functions block; the tools call them in threads.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from heddle_core.ids import TenantId, is_id
from heddle_core.values import value

MOST_FILE = 1 << 20
"""Bytes of one file."""
MOST_STORED = 64 << 20
"""Bytes of all files of a tenant."""
MOST_ENTRIES = 10_000
"""Files and folders of a tenant."""
MOST_STEPS = 32
"""Folders on a path."""

_PRIVATE = ".heddle-"
"""How files start that are still being written; no path may name one."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class SandboxRefused(Exception):
    """What cannot be done, and what to do instead, in words for the model."""


@value
class Entry:
    """A file or folder."""

    path: str
    is_folder: bool
    size: int
    """Bytes; zero for a folder."""


class Sandbox:
    """The tenants' folders below `root`, which must exist."""

    def __init__(self, root: Path, *, most_stored: int = MOST_STORED) -> None:
        self._root = root
        self._most_stored = most_stored

    def read(self, tenant: TenantId, path: str) -> bytes:
        """The content of a file. Raises SandboxRefused."""
        *folders, name = _steps(path)
        with self._folder(tenant, folders, create=False) as folder, _opened(name, folder, path) as file:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise SandboxRefused(f"{path} is not a file: list_files shows what there is")
            if status.st_size > MOST_FILE:
                raise SandboxRefused(f"{path} has {status.st_size} bytes, and at most {MOST_FILE} can be read")
            return _all_of(file)

    def write(
        self, tenant: TenantId, path: str, content: bytes, *, replace: bool, key: str, admit: Callable[[], bool]
    ) -> bool:
        """Write a whole file so that readers see the old or the new one, on stable storage when this returns.

        `admit` is asked once, at the last moment; whether it said yes is returned, and if not no file has changed.
        `key` names the write: no two at a time have the same. Raises SandboxRefused, and then no file has changed
        either; an OSError after `admit` said yes leaves it open.
        """
        *folders, name = _steps(path)
        if len(content) > MOST_FILE:
            raise SandboxRefused(f"the content has {len(content)} bytes, and a file has at most {MOST_FILE}")
        self._check_room(tenant, len(content))
        draft = _PRIVATE + hashlib.sha256(f"{key}\0{path}".encode()).hexdigest()[:32]
        with self._folder(tenant, folders, create=True) as folder:
            try:
                _write_draft(draft, folder, content)
                if not admit():
                    return False
                _publish(draft, name, folder, replace=replace, path=path)
                os.fsync(folder)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(draft, dir_fd=folder)
        return True

    def entries(self, tenant: TenantId, path: str, *, most: int) -> tuple[list[Entry], bool]:
        """Files and folders below `path`, by name, and whether there are more than `most`. Raises SandboxRefused."""
        with self._folder(tenant, _steps(path) if path else [], create=False) as folder:
            prefix = f"{path.strip('/')}/" if path else ""
            found: list[Entry] = []
            for entry in _walk(folder, prefix, MOST_STEPS):
                found.append(entry)
                if len(found) > most:
                    break
        return found[:most], len(found) > most

    def _check_room(self, tenant: TenantId, size: int) -> None:
        """Counts anew each time: the folder is the only truth, and others may write to it."""
        with self._folder(tenant, [], create=True) as folder:
            stored = entries = 0
            for entry in _walk(folder, "", MOST_STEPS + 1):
                stored, entries = stored + entry.size, entries + 1
                if entries >= MOST_ENTRIES:
                    raise SandboxRefused(f"there are {MOST_ENTRIES} files already, which is the most there may be")
            if stored + size > self._most_stored:
                raise SandboxRefused(f"{stored} bytes are stored already, and {self._most_stored} is the most")

    @contextmanager
    def _folder(self, tenant: TenantId, steps: list[str], *, create: bool) -> Generator[int]:
        """A descriptor of a folder of `tenant`."""
        if not is_id(tenant):
            raise SandboxRefused("this tenant's name cannot be a folder")
        current = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for depth, step in enumerate([tenant, *steps]):
                if create or depth == 0:
                    with suppress(FileExistsError):
                        os.mkdir(step, 0o700, dir_fd=current)
                        os.fsync(current)
                current, previous = _step_into(step, current), current
                os.close(previous)
            yield current
        finally:
            os.close(current)


def _steps(path: str) -> list[str]:
    """The names on a path. Raises SandboxRefused for what is not a plain path below the folder."""
    steps = path.removesuffix("/").split("/")
    if path.startswith("/") or "\0" in path or "\\" in path or any(step in ("", ".", "..") for step in steps):
        raise SandboxRefused(
            f"{path[:200]!r} is not a path here: write it as notes/plan.txt, without a leading / or .."
        )
    if len(steps) > MOST_STEPS or any(len(os.fsencode(_encodable(step))) > 255 for step in steps):
        raise SandboxRefused(f"a path has at most {MOST_STEPS} names, each of at most 255 bytes")
    if any(step.startswith(_PRIVATE) for step in steps):
        raise SandboxRefused(f"names do not start with {_PRIVATE}: choose another")
    return steps


def _encodable(step: str) -> str:
    try:
        step.encode()
    except UnicodeEncodeError:
        raise SandboxRefused("a path is valid Unicode") from None
    return step


def _step_into(step: str, folder: int) -> int:
    try:
        return os.open(step, _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        raise SandboxRefused(f"there is no folder {step!r}: list_files shows what there is") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise SandboxRefused(f"{step!r} is not a folder") from None
        raise


@contextmanager
def _opened(name: str, folder: int, path: str) -> Generator[int]:
    """The file for reading. Without O_NONBLOCK, opening a FIFO would wait for a writer."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        raise SandboxRefused(f"there is no file {path}: list_files shows what there is") from None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise SandboxRefused(f"{path} is a link or a device, and neither is followed here") from None
        raise
    try:
        yield file
    finally:
        os.close(file)


def _all_of(file: int) -> bytes:
    """Up to the limit, even if the file grows meanwhile."""
    chunks: list[bytes] = []
    left = MOST_FILE
    while left > 0 and (chunk := os.read(file, left)):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def _write_draft(draft: str, folder: int, content: bytes) -> None:
    with suppress(FileNotFoundError):
        os.unlink(draft, dir_fd=folder)  # left by a process that died in the middle of this very write
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(draft, flags, 0o600, dir_fd=folder)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(file, left) :]
        os.fsync(file)
    finally:
        os.close(file)


def _publish(draft: str, name: str, folder: int, *, replace: bool, path: str) -> None:
    """Give the draft its name in one step. A link of that name is replaced itself, not what it points to."""
    try:
        if replace:
            os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            os.link(draft, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError:
        raise SandboxRefused(f"{path} exists already: set replace to true to write over it") from None
    except (IsADirectoryError, NotADirectoryError):
        raise SandboxRefused(f"{path} is a folder: choose another name") from None


def _walk(folder: int, prefix: str, depth: int) -> Iterator[Entry]:
    """Everything below, by name, parents first; links and devices are left out, and not followed."""
    with os.scandir(folder) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith(_PRIVATE):
            continue
        if entry.is_file(follow_symlinks=False):
            yield Entry(prefix + entry.name, False, entry.stat(follow_symlinks=False).st_size)
        elif entry.is_dir(follow_symlinks=False) and depth > 0:
            yield Entry(prefix + entry.name, True, 0)
            try:
                below = os.open(entry.name, _FOLDER, dir_fd=folder)
            except OSError:
                continue  # gone, or swapped for a link since it was listed
            try:
                yield from _walk(below, f"{prefix}{entry.name}/", depth - 1)
            finally:
                os.close(below)
