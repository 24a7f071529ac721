"""The warm pool: containers kept ready, so that a user's workspace opens at once."""

import time

import docker_api

LABEL = "workspace.pool"


class Pool:
    def __init__(self, size, image, socket_directory):
        self.consecutive_failures = 0
        self.last_error = None
        self._image = image
        self._wanted = {
            f"warm-{n}": {"NetworkMode": "none", "Binds": [f"{socket_directory}:/var/run/workspace-sockets"]}
            for n in range(1, size + 1)
        }
        self.target = size
        self._required = {}

    def require_host_network(self, required):
        """An engine with userns-remap refuses such a container, so an application that needs one cannot work there."""
        self._required = {"host-network": {"NetworkMode": "host"}} if required else {}

    def reconcile(self):
        """Starts what has stopped and makes what is missing. A container that exists is never thrown away."""
        found = docker_api.states(LABEL)
        for name, host_config in {**self._wanted, **self._required}.items():
            if found.get(name) in ("running", "paused", "restarting"):
                continue
            try:
                if name in found:
                    docker_api.start(name)
                else:
                    docker_api.run(name, self._settings(host_config))
            except docker_api.DockerError as error:
                self._failed(name, error)
            else:
                self.consecutive_failures = 0
                self.last_error = None

    def _settings(self, host_config):
        return {"Image": self._image, "Labels": {LABEL: "1"}, "HostConfig": host_config}

    def _failed(self, name, error):
        self.consecutive_failures += 1
        self.last_error = f"{name}: {error}"
        print(time.strftime("%T"), self.last_error)

    def observe(self):
        """(running warm containers, what the application needs and does not have), asked of the engine now."""
        found = docker_api.states(LABEL)
        running = {name for name, state in found.items() if state == "running"}
        return len(running & self._wanted.keys()), sorted(self._required.keys() - running)
