"""A server that answers with the version it was given, and fails as told: the process, sockets and signals are real.

Parameters beside those of every deployment: `fails` ("start", "ping", "golden", "values", "never ready", "after commit")
and `seconds`, how long an answer takes.
"""

import asyncio
import os
import sys

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from chronos_assets.container.contract import WorkloadError, run_workload
from chronos_assets.serving.handover import Deployment
from chronos_assets.serving.hosting import Hosting, host


class Served:
    draining = False

    def start(self):
        pass

    async def stop(self):
        pass


def main(workspace, _reporter):
    parameters = workspace.parameters()
    fails = parameters.get("fails")
    served = Served()
    if fails == "start":
        raise WorkloadError("the model is broken")
    if fails == "never ready":
        asyncio.run(asyncio.sleep(60))

    async def ping(_request):
        identity = "someone else" if fails == "ping" else parameters["identity"]
        return answer({"endpoint": parameters["endpoint"], "identity": identity, "environment": sorted(os.environ)})

    async def invocations(request):
        document = await request.json()
        if document.get("die"):
            os._exit(9)
        await asyncio.sleep(parameters.get("seconds", 0.0))
        if fails == "golden":
            return JSONResponse({"message": "no such field"}, status_code=400)
        value = "NaN" if fails == "values" else 1.0
        return answer({"predictions": [{"mean": [value]}], "version": parameters["version"], "model": model()})

    def answer(document):
        return JSONResponse(document, headers={"connection": "close"} if served.draining else None)

    def model():
        return sorted(path.name for path in workspace.model.iterdir()) if workspace.model.is_dir() else None

    app = Starlette(
        routes=[Route("/ping", ping), Route("/invocations", invocations, methods=["POST"])],
    )
    sys.stderr.write("loading the model of hunter2: password=hunter2\n")
    deployment = Deployment(**parameters["deployment"])
    hosting = Hosting("127.0.0.1", drain_seconds=3.0, look_seconds=0.2, deployment=deployment)
    asyncio.run(host(served, app, hosting, workspace.root))


if __name__ == "__main__":
    run_workload(main)
