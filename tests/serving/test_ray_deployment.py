"""The service as a Ray Serve deployment of two replicas: the same answers, from both of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import picscribe

pytest.importorskip("grpc", reason="needs the extra serve-ray")

# In a process of its own: Ray leaves threads, signals and settings behind in the one that starts it.
SCRIPT = """
import json, logging, socket, sys
import httpx, ray
from concurrent.futures import ThreadPoolExecutor
from ray import serve
from picscribe.serving import ray_deployment
from picscribe.serving.settings import ModelSpec, Settings

model, *photos = sys.argv[1:]
ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
serve.start(http_options={"host": "127.0.0.1", "port": port})
settings = Settings(models=(ModelSpec("tiny", model),), threads=1, decoders=1)
serve.run(ray_deployment.application(settings, replicas=2, ray_actor_options={"num_cpus": 0}))
client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)

def ask(photo):
    return client.post("/v1/caption", content=open(photo, "rb").read()).json()["caption"]

with ThreadPoolExecutor(8) as threads:
    captions = list(threads.map(ask, photos * 4))
ready = client.get("/readyz").json()
wrong = client.post("/v1/caption", json={}).json()["error"]["code"]
streamed = client.post("/api/generate", json={"model": "tiny"}).json()["done"]
replicas = serve.status().applications["default"].deployments["picscribe"].replica_states
print(json.dumps([captions, ready, wrong, streamed, {str(k): v for k, v in replicas.items()}]))
serve.shutdown()
"""


@pytest.mark.slow
def test_two_replicas_answer_as_the_library(tiny_model: Path, photos: Path) -> None:
    files = [str(photos / f"photo{number}.png") for number in range(1, 6)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", SCRIPT, str(tiny_model), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    (answer,) = [line for line in done.stdout.splitlines() if line.startswith("[[")]
    captions, ready, wrong, loaded, replicas = json.loads(answer)
    scribe = picscribe.load(tiny_model)
    assert captions == [scribe.caption(file).text for file in files] * 4
    assert (ready, wrong, loaded) == ({"status": "ready"}, "image_required", True)
    assert sum(replicas.values()) == 2
