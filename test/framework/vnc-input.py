"""Types and points at a VNC display with gtk-vnc's client library: vnc-input.py PORT STEP...

A step is key,KEYSYM,DOWN or pointer,X,Y,BUTTONS, with the numbers of RFB; they are sent 60 ms apart.
"""

import sys

import gi

gi.require_version("GVnc", "1.0")
from gi.repository import GLib, GVnc

STEP_MS = 60
AUTH_NONE = 1

port, *steps = sys.argv[1:]
loop = GLib.MainLoop()
connection = GVnc.Connection()
done = False


def step():
    global done
    if not steps:
        done = True
        connection.shutdown()
        return False
    what, *numbers = steps.pop(0).split(",")
    first, second, *rest = map(int, numbers)
    if what == "key":
        connection.key_event(second == 1, first, 0)
    else:
        connection.pointer_event(rest[0], first, second)
    return True


connection.connect("vnc-auth-choose-type", lambda *_: connection.set_auth_type(AUTH_NONE))
connection.connect("vnc-initialized", lambda *_: GLib.timeout_add(STEP_MS, step))
connection.connect("vnc-disconnected", lambda *_: loop.quit())
connection.open_host("127.0.0.1", port)
loop.run()
sys.exit(0 if done else 1)
