"""The task endpoints as ECS documents them, at 169.254.170.2: metadata v4 of the own task, and credentials for anybody with the path.

They give the documented answers, without a member that names the path (Amazon ECS developer guide, "Task metadata endpoint version 4" and
"Task IAM role"). The path is in the environment, as in a container.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CREDENTIALS = os.environ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]
METADATA = "/v4/" + os.environ["ECS_CONTAINER_METADATA_URI_V4"].rsplit("/", 1)[1]
ARN = "arn:aws:ecs:us-east-1:123456789012"
CONTAINER = {
    "DockerId": METADATA.rsplit("/", 1)[1], "Name": "openclaw", "DockerName": "openclaw", "Image": "openclaw", "ImageID": "sha256:0",
    "Labels": {"com.amazonaws.ecs.cluster": f"{ARN}:cluster/openclaw-dev", "com.amazonaws.ecs.container-name": "openclaw",
               "com.amazonaws.ecs.task-definition-family": "openclaw-dev-user"},
    "DesiredStatus": "RUNNING", "KnownStatus": "RUNNING", "Limits": {"CPU": 512, "Memory": 2048}, "Type": "NORMAL",
    "ContainerARN": f"{ARN}:container/openclaw-dev/0", "Snapshotter": "overlayfs",
    "Networks": [{"NetworkMode": "awsvpc", "IPv4Addresses": ["10.0.0.10"], "PrivateDNSName": "ip-10-0-0-10.ec2.internal"}],
}
TASK = {
    "Cluster": f"{ARN}:cluster/openclaw-dev", "TaskARN": f"{ARN}:task/openclaw-dev/0", "Family": "openclaw-dev-user", "Revision": "1",
    "DesiredStatus": "RUNNING", "KnownStatus": "RUNNING", "LaunchType": "FARGATE", "AvailabilityZone": "us-east-1a",
    "Containers": [CONTAINER],
}
KEYS = {"RoleArn": "arn:aws:iam::123456789012:role/task", "AccessKeyId": "ASIAOFTHETASKROLE0000", "SecretAccessKey": "secret",
        "Token": "token", "Expiration": "2099-01-01T00:00:00Z"}
ANSWERS = {METADATA: CONTAINER, f"{METADATA}/task": TASK, f"{METADATA}/stats": {}, f"{METADATA}/task/stats": {},
           f"{METADATA}/taskWithTags": TASK, CREDENTIALS: KEYS}


class Endpoint(BaseHTTPRequestHandler):
    def do_GET(self):
        answer = ANSWERS.get(self.path)
        body = json.dumps(answer if answer is not None else {"code": "InvalidPath", "message": "no such path"}).encode()
        self.send_response(200 if answer is not None else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer((sys.argv[1], 80), Endpoint).serve_forever()
