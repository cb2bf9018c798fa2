"""botocore's retry mode "adaptive": a real client, given this server as its endpoint."""
from botocore_client import run

run("adaptive")
