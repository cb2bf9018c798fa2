"""botocore's retry mode "standard": a real client, given this server as its endpoint."""
from botocore_client import run

run("standard")
