"""What a box asks of the kernel, and what becomes of the traces: mounts, control groups, private directories."""

import ctypes
import errno
import fcntl
import os
import secrets
import signal
import tempfile
import time
from pathlib import Path

SWEEP_AGE = 60  # seconds; a younger directory may belong to one that is just being made
CLONE_NEWNS = 0x00020000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
libc = ctypes.CDLL(None, use_errno=True)
FORBIDDEN = (errno.EPERM, errno.EACCES, errno.EROFS, errno.ENODEV)  # how kernels and containers say "not here"


class Unavailable(Exception):
    """No box can be made here; the text says why."""


def call(what, function, *arguments):
    """Calls the C library. Unavailable where the kernel or a container forbids it, OSError for all else."""
    if function(*arguments) == 0:
        return
    number = ctypes.get_errno()
    if number in FORBIDDEN:
        raise Unavailable(f"this kernel or container does not allow {what}: {os.strerror(number)}")
    raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source, target, kind, flags=0, options=None):
    text = [None if value is None else str(value).encode() for value in (source, target, kind, options)]
    call(f"a mount of {kind or 'private propagation'} at {target}", libc.mount, text[0], text[1], text[2],
         ctypes.c_ulong(flags), text[3])


def private_mounts():
    """Takes this process into a mount namespace of its own, which it shares with those it starts from now on."""
    call("a mount namespace", libc.unshare, CLONE_NEWNS)
    try:
        mount("none", "/", None, MS_REC | MS_PRIVATE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise Unavailable("this is a chroot whose root is no mount point") from None


def after_death(work):
    """Calls `work` in another process once this one is gone, however it ended. Returns a function that calls it off."""
    waits, lives = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            os.close(lives)
            null = os.open("/dev/null", os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            if not os.read(waits, 1):
                work()
        finally:
            os._exit(0)
    os.close(waits)

    def call_off():
        os.write(lives, b"x")
        os.close(lives)
        os.waitpid(pid, 0)

    return call_off


def cgroup_mounts():
    """Where the hierarchies are mounted that systemd keeps its units in: cgroup2, and name=systemd on hybrid hosts."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(fields.split()[4]))
    return found


def make_cgroup(path):
    try:
        path.mkdir()
    except OSError as error:
        if error.errno not in FORBIDDEN:
            raise
        raise Unavailable(f"this container does not allow a control group: {error}") from None


def remove_cgroup(root):
    """Kills what is in a control group and below, and removes it. A name that is not there is fine."""
    for _ in range(500):
        busy = False
        for directory, _, _ in os.walk(root, topdown=False):
            try:
                for pid in Path(directory, "cgroup.procs").read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
                os.rmdir(directory)
            except (FileNotFoundError, ProcessLookupError):
                pass
            except OSError:
                busy = True  # its processes are not gone yet
        if not busy and not os.path.exists(root):
            return
        time.sleep(0.01)
    raise OSError(errno.EBUSY, f"{root} still has processes")


def private_directory(prefix):
    """Makes a directory in TMPDIR, and returns it with a lock on it that ends with this process."""
    # Not mkdtemp(): nspawn makes the machine's name of it, and refuses one with `_` or `-` in some places.
    path = Path(tempfile.gettempdir()) / (prefix + secrets.token_hex(6))
    path.mkdir(mode=0o700)
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return path, lock


def sweep(prefix, remove):
    """Calls `remove` for each private_directory() whose maker was killed."""
    for path in Path(tempfile.gettempdir()).glob(prefix + "*"):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            facts = os.fstat(fd)
            if facts.st_uid == os.geteuid() and time.time() - facts.st_mtime > SWEEP_AGE:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(path)
        except OSError:
            pass  # in use, or holds something that is not ours
        finally:
            os.close(fd)
