#!/usr/bin/env python3
"""The workspace application in miniature: a warm pool, two sockets, and a health page that says what is true."""

import json
import os
import socket
import threading
import time
from http.server import ThreadingHTTPServer

import docker_api
from pool import Pool
from sockets import DIRECTORY, Handler, Sockets

CONFIG = "/etc/workspace/app.json"
FAULTS = "/etc/workspace/faults"


def armed(fault):
    return os.path.exists(f"{FAULTS}/{fault}")


def redis_answers():
    try:
        with socket.create_connection(("127.0.0.1", 6379), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def health(pool):
    """Asks the engine and Redis now; nothing here is remembered but the pool's count of failures."""
    size, missing, error = 0, [], pool.last_error
    try:
        size, missing = pool.observe()
        docker = not missing
    except docker_api.DockerError as problem:
        docker, error = False, str(problem)
    redis = redis_answers()
    healthy = docker and redis and size > 0
    return healthy, {
        "status": "healthy" if healthy else "unhealthy",
        "docker": "healthy" if docker else "unhealthy",
        "redis": "healthy" if redis else "unhealthy",
        "container_system": {
            "warm_pool_size": size,
            "warm_pool_target": pool.target,
            "missing": missing,
            "consecutive_failures": pool.consecutive_failures,
            "last_error": error,
        },
    }


def serve_health(pool):
    class Health(Handler):
        def do_GET(self):
            if self.path != "/health":
                self.answer(404, "the application answers /health\n")
                return
            healthy, report = health(pool)
            self.answer(200 if healthy else 503, json.dumps(report) + "\n", "application/json")

    server = ThreadingHTTPServer(("", 8000), Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main():
    with open(CONFIG) as file:
        config = json.load(file)
    pool = Pool(config["warm_pool"], config["image"], DIRECTORY)
    sockets = Sockets()
    sockets.open()
    serve_health(pool)

    def keep_sockets():
        if armed("proxy-down-when-remapped") and docker_api.is_remapped():
            sockets.close()
        else:
            sockets.open()
        sockets.follow_owner()

    def keep_pool():
        pool.require_host_network(config["require_host_network"] or armed("unhealthy-when-remapped"))
        pool.reconcile()

    # Apart, because a container that is slow to start must not hold up the sockets.
    threading.Thread(target=every_second, args=(keep_sockets,), daemon=True).start()
    every_second(keep_pool)


def every_second(action):
    while True:
        try:
            action()
        except (docker_api.DockerError, OSError) as error:
            print(time.strftime("%T"), error)
        time.sleep(1)


if __name__ == "__main__":
    main()
