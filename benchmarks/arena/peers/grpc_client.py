"""A channel with a service config, shared by all workers; messages are bytes."""
import json

import grpc

from bench import Bench

METHOD = "/forbear.testing.Echo/Say"


def run(peer, settings, extra):
    bench = Bench(peer, {"grpcio": grpc.__version__}, settings)
    config = {
        "methodConfig": [{
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }]
    }
    config.update(extra)
    channel = grpc.insecure_channel(
        bench.grpc, options=[("grpc.service_config", json.dumps(config)), ("grpc.enable_retries", 1)])
    grpc.channel_ready_future(channel).result(timeout=10)
    say = channel.unary_unary(METHOD)

    def call():
        say(b"", timeout=bench.timeout)
        return True

    bench.run_threads(lambda: call)
