"""Serve what a group uses to Prometheus, from a program of your own.

    python examples/metrics.py [PORT]

The metrics have cAdvisor's names, so that dashboards made for it work.  Try, meanwhile:
    curl -s localhost:PORT/metrics | grep container_memory_usage_bytes
"""

import sys
import time

from prometheus_client import CollectorRegistry, start_http_server

import cgmgr
from cgmgr.exporters.collector import Collector


def main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9753
    manager = cgmgr.Manager()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(manager))
    with manager.group("metrics-example", memory="256M", cpus=0.2) as group:
        group.popen(["sh", "-c", "while :; do :; done"])
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
        print(f"http://127.0.0.1:{server.server_port}/metrics, ^C ends it", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    main()
