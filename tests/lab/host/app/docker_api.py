"""The few calls of Docker's HTTP API that the application makes.

The API and not the client, because each host asks several times a second and all hosts share two cores.
"""

import http.client
import json
import socket
from urllib.parse import quote

SOCKET = "/var/run/docker.sock"


class DockerError(Exception):
    """The engine did not answer, or refused."""


class _Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def _call(method, path, body=None, timeout=5):
    connection = _Connection("localhost", timeout=timeout)
    try:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise DockerError(f"the engine does not answer: {error}") from error
    finally:
        connection.close()
    if response.status >= 400:
        try:
            text = json.loads(text)["message"]
        except (ValueError, KeyError):
            pass
        raise DockerError(text.strip())
    return json.loads(text) if text[:1] in ("{", "[") else text


def is_remapped():
    return any("name=userns" in option for option in _call("GET", "/info")["SecurityOptions"])


def states(label):
    """Name to state ("running", "exited", ...) of every container with that label."""
    filters = quote(json.dumps({"label": [label]}))
    containers = _call("GET", f"/containers/json?all=true&filters={filters}")
    return {name.lstrip("/"): c["State"] for c in containers for name in c["Names"]}


def start(name):
    # Long, because a start that takes half a minute is a symptom to measure and not an error.
    _call("POST", f"/containers/{name}/start", timeout=120)


def run(name, settings):
    """Creates and starts a container, or leaves nothing."""
    _call("POST", f"/containers/create?name={name}", settings, timeout=60)
    try:
        start(name)
    except DockerError:
        _call("DELETE", f"/containers/{name}?force=true", timeout=60)
        raise
