"""The custom metrics API with one number for all pods that have one, which a test sets: PUT /set with a JSON document."""

import json
import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

ROOT = "/apis/custom.metrics.k8s.io/v1beta1"
METRIC = "pods/omega_requests_per_engine"
given: dict[str, str] = {}
"""By the pod's name: its number."""


class Handler(BaseHTTPRequestHandler):
    """Discovery, and the numbers."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """What the API server and the autoscaler ask."""
        path = urlsplit(self.path).path
        if path == ROOT:
            verbs = {
                "name": METRIC,
                "namespaced": True,
                "kind": "MetricValueList",
                "verbs": ["get"],
                "singularName": "",
            }
            body = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": ROOT[6:], "resources": [verbs]}
        elif path.startswith(f"{ROOT}/namespaces/"):
            namespace = path.removeprefix(f"{ROOT}/namespaces/").partition("/")[0]
            items = [
                {
                    "describedObject": {"kind": "Pod", "namespace": namespace, "name": name, "apiVersion": "/v1"},
                    "metricName": METRIC.partition("/")[2],
                    "timestamp": "2030-01-01T00:00:00Z",
                    "value": value,
                }
                for name, value in given.items()
            ]
            body = {"kind": "MetricValueList", "apiVersion": ROOT[6:], "metadata": {}, "items": items}
        else:
            self.answer(404, {})
            return
        self.answer(200, body)

    def do_PUT(self) -> None:
        """What the test says."""
        given.clear()
        given.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.answer(200, {})

    def answer(self, status: int, body: dict[str, object]) -> None:
        """One JSON document."""
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """Nobody reads it."""


server = ThreadingHTTPServer(("", 6443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tls/tls.crt", "/tls/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
