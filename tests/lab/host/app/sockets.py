"""proxy.sock and agent.sock: how containers without a network reach the application."""

import http.client
import os
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

DIRECTORY = "/var/lib/workspace/sockets"
# The names everyone uses; /run is empty after each boot, so they are made anew.
LINKS = {
    "/run/workspace-sockets": DIRECTORY,
    "/run/proxy.sock": f"{DIRECTORY}/proxy.sock",
    "/run/agent.sock": f"{DIRECTORY}/agent.sock",
}


class Handler(BaseHTTPRequestHandler):
    """What both sockets and the TCP port have in common."""

    def answer(self, status, body, kind="text/plain"):
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Probes come several times a second; the journal is for what goes wrong."""


class Proxy(Handler):
    """Passes requests on to the application's port, the one place a container may reach."""

    def do_GET(self):
        if self.path == "/ping":
            self.answer(200, "pong\n")
            return
        upstream = http.client.HTTPConnection("127.0.0.1", 8000, timeout=10)
        try:
            upstream.request("GET", self.path)
            response = upstream.getresponse()
            self.answer(response.status, response.read(), response.headers.get_content_type())
        except OSError as error:
            self.answer(502, f"{error}\n")
        finally:
            upstream.close()


class Agent(Handler):
    def do_GET(self):
        if self.path == "/ping":
            self.answer(200, "pong\n")
        else:
            self.answer(404, "the agent answers /ping\n")


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class Sockets:
    def __init__(self):
        self._servers = {}

    def open(self):
        for link, target in LINKS.items():
            if not os.path.islink(link):
                os.symlink(target, link)
        for name, handler in (("proxy", Proxy), ("agent", Agent)):
            if name in self._servers:
                continue
            path = f"{DIRECTORY}/{name}.sock"
            _unlink(path)
            server = _Server(path, handler)
            os.chmod(path, 0o660)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self._servers[name] = server

    def close(self):
        for name, server in self._servers.items():
            server.shutdown()
            server.server_close()
            _unlink(f"{DIRECTORY}/{name}.sock")
        self._servers.clear()

    def follow_owner(self):
        """Whoever owns the directory is who may connect: changing the directory's owner is all a change has to do."""
        wanted = os.stat(DIRECTORY)
        for name in self._servers:
            path = f"{DIRECTORY}/{name}.sock"
            now = os.stat(path)
            if (now.st_uid, now.st_gid) != (wanted.st_uid, wanted.st_gid):
                os.chown(path, wanted.st_uid, wanted.st_gid)


def _unlink(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
