"""A model's container for the tests of endpoints: it answers with its version, and fails as its parameter `fails` says.

`fails`: "start", "ping", "golden", "values". `model`, in its answer, has the names of its model's files.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(os.environ.get("CHRONOS_ML_ROOT") or "/opt/ml")
SERVING = json.loads(os.environ["CHRONOS_SERVING"])
FAILS = SERVING.get("fails", "")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer(500 if FAILS == "ping" else 200, {})

    def do_POST(self):
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if FAILS == "golden" or document.get("bad"):
            self._answer(400, {"message": "no such field"})
            return
        value = float("nan") if FAILS == "values" else 1.0
        files = sorted(path.name for path in (ROOT / "model").iterdir())
        self._answer(
            200, {"predictions": [{"mean": [value]}], "version": SERVING["version"], "files": files, "told": SERVING}
        )

    def _answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    if FAILS == "start":
        sys.exit("the model is broken")
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
