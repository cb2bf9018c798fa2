"""gRPC's own retryPolicy with retryThrottling, as its documentation shows both together."""
from grpc_client import run

run("grpc-throttled", "as grpc-policy, with retryThrottling (10 tokens, 0.1 back per success)",
    {"retryThrottling": {
        "maxTokens": 10,
        "tokenRatio": 0.1
    }})
