"""gRPC's own retryPolicy in a service config. It obeys grpc-retry-pushback-ms."""
from grpc_client import run

run("grpc-policy", "retryPolicy, 5 attempts (its most), 0.1 s doubled up to 5 s; one channel", {})
