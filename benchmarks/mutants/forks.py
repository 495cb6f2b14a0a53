"Work done in forks of this process, each of which may break what it likes (Linux)."
import json
import os
import select
import signal
import time
from collections import deque
from dataclasses import dataclass
from typing import Any


@dataclass
class Child:
    task: Any
    pid: int
    pipe: int  # from which its result is read
    end: float  # when its time is over

    def result(self):
        with open(self.pipe, encoding='utf-8') as pipe:
            text = pipe.read()
        os.waitpid(self.pid, 0)
        return json.loads(text) if text else 'died'

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.close(self.pipe)
        os.waitpid(self.pid, 0)


def be_quiet():
    "Send what this process prints to nowhere."
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def work_and_exit(task, work, pipe, quiet):
    "The life of a child: do the task, write what came of it, and end."
    if quiet:
        be_quiet()
    try:
        result = work(task)
    except BaseException as error:
        result = f'{type(error).__name__}: {error}'[:200]
    with open(pipe, 'w', encoding='utf-8') as file:
        json.dump(result, file)
    os._exit(0)


def start(task, work, seconds, quiet):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        work_and_exit(task, work, write, quiet)
    os.close(write)
    return Child(task, pid, read, time.monotonic() + seconds)


def in_forks(
    tasks,
    work,  # called with a task, in a fork; returns what JSON can hold
    limit,  # called with a task: the seconds that it may take
    workers=1,
    quiet=True,
):
    """Do each task in a fork of its own; yield pairs of task and result as they come.

    The result is a text where there is none: 'time limit', 'died', or the error's."""
    waiting, running = deque(tasks), {}
    while waiting or running:
        while waiting and len(running) < workers:
            task = waiting.popleft()
            child = start(task, work, limit(task), quiet)
            running[child.pipe] = child
        ready, _, _ = select.select(running, [], [], 0.2)
        for child in list(running.values()):
            if child.pipe in ready:
                result = child.result()
            elif time.monotonic() > child.end:
                child.kill()
                result = 'time limit'
            else:
                continue
            del running[child.pipe]
            yield child.task, result
