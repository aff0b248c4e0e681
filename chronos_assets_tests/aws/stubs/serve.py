"""A model's container of no torch: it answers with its model's words, and fails as the model's file `fails` says."""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(os.environ.get("CHRONOS_ML_ROOT") or "/opt/ml")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self._answer(500 if "ping" in FAILS else 200, b"{}")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"bad":
            self._answer(400, b'{"message": "bad input"}')
        else:
            names = sorted(path.name for path in (ROOT / "model").iterdir())
            told = {"said": (ROOT / "model" / "config.json").read_text(), "files": names, "body": body.decode()}
            custom = self.headers.get("X-Amzn-SageMaker-Custom-Attributes")
            self._answer(200, json.dumps({**told, "word": os.environ.get("WORD")}).encode(), custom)

    def _answer(self, status, body, custom=None):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if custom:
            self.send_header("X-Amzn-SageMaker-Custom-Attributes", custom)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    fails = ROOT / "model" / "fails"
    FAILS = fails.read_text() if fails.exists() else ""
    if "start" in FAILS:
        sys.exit("the model is broken")
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
