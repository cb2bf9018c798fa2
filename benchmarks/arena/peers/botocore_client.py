"""Lambda's ListFunctions, because that is a GET whose answer may be empty."""
import botocore
import botocore.config
import botocore.session

from bench import Bench


def run(mode):
    bench = Bench("botocore-" + mode, {"botocore": botocore.__version__},
                  'retries={"mode": "%s", "max_attempts": 10}; one client for all workers' % mode)
    timeout = {"read_timeout": bench.timeout} if bench.timeout else {}
    config = botocore.config.Config(
        retries={
            "mode": mode,
            "max_attempts": 10
        }, max_pool_connections=bench.workers, **timeout)
    client = botocore.session.get_session().create_client(
        "lambda",
        region_name="us-east-1",
        endpoint_url=bench.url,
        aws_access_key_id="arena",
        aws_secret_access_key="arena",
        config=config)

    def call():
        client.list_functions()
        return True

    bench.run_threads(lambda: call)
