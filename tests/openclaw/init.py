"""Process 1 of a container with `initProcessEnabled`, like ECS's: passes signals on, collects orphans.

Run inside the container with `python3 -c`, by the container's user and with its capabilities: without KILL root cannot pass
SIGTERM on to a process of another user.
"""

import os
import signal
import sys

child = os.fork()
if child == 0:
    os.execvp(sys.argv[1], sys.argv[1:])


def pass_on(number, _frame):
    os.kill(child, number)


for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, pass_on)
while True:
    pid, status = os.wait()
    if pid == child:
        sys.exit(os.waitstatus_to_exitcode(status) % 256)
