"""The service on many machines: the same application as a Ray Serve deployment, a replica a machine or device.

    import picscribe.serving.ray_deployment as deployment
    from ray import serve

    serve.run(deployment.application(Settings(models=(ModelSpec("nano", "nano"),)), replicas=2))

Each replica has a queue, decoders and workers of its own, and its own limits; Ray's proxy shares requests out among
them. So its gauges and counters are the replica's: `/metrics` answers for the one that a request happens to reach, and
Ray's own metrics add up over all.
"""

from typing import Any

from picscribe.errors import MissingPackageError
from picscribe.serving.app import create_app
from picscribe.serving.settings import Settings

ONGOING = 4096
"""Requests that a replica holds: its own queue refuses what is too much, and says when to come again."""


def application(settings: Settings, *, replicas: int = 1, **options: Any) -> Any:
    """An application for `ray.serve.run`.

    options: of `ray.serve.deployment`, such as `ray_actor_options={"num_gpus": 1}`.
    Raises MissingPackageError without Ray Serve.
    """
    try:
        from ray import serve
    except ImportError as error:
        raise MissingPackageError(f"this needs {error.name}: pip install 'picscribe[serve-ray]'") from error

    def build() -> Any:
        return create_app(settings)

    deployment: Any = serve.deployment(
        serve.ingress(build)(),
        name="picscribe",
        num_replicas=replicas,
        max_ongoing_requests=ONGOING,
        graceful_shutdown_timeout_s=settings.grace,
        **options,
    )
    return deployment.bind()
