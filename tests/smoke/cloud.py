"""Reads what the emulator holds through boto3, not through the service under test."""

import os

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

REGION = "us-east-1"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": os.environ.get("AWS_ACCESS_KEY_ID", "test"),
    "AWS_SECRET_ACCESS_KEY": os.environ.get("AWS_SECRET_ACCESS_KEY", "test"),
    "AWS_REGION": REGION,
}
CLUSTER = "openclaw-dev"
BASE_FAMILY = "openclaw-dev"
# Members of RegisterTaskDefinition; AWS adds the other members of DescribeTaskDefinition's answer.
INPUT_MEMBERS = {
    "family", "taskRoleArn", "executionRoleArn", "networkMode", "containerDefinitions", "volumes",
    "placementConstraints", "requiresCompatibilities", "cpu", "memory", "pidMode", "ipcMode", "proxyConfiguration",
    "inferenceAccelerators", "ephemeralStorage", "runtimePlatform", "enableFaultInjection",
}


class Cloud:
    """One emulator."""

    def __init__(self, endpoint):
        def client(service):
            return boto3.client(
                service, region_name=REGION, endpoint_url=endpoint,
                aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
                config=Config(retries={"max_attempts": 1, "mode": "standard"}, connect_timeout=5, read_timeout=30))
        self.ecs, self.efs, self.ecr, self.ec2 = (client(name) for name in ("ecs", "efs", "ecr", "ec2"))
        self.sts = client("sts")

    def network(self):
        """A subnet and a security group that exist, or None if the endpoint has no EC2."""
        try:
            subnets = self.ec2.describe_subnets()["Subnets"]
            if not subnets:
                vpc = self.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
                subnets = [self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.9.1.0/24")["Subnet"]]
            subnet = subnets[0]
            groups = self.ec2.describe_security_groups(
                Filters=[{"Name": "vpc-id", "Values": [subnet["VpcId"]]}])["SecurityGroups"]
            return subnet["SubnetId"], groups[0]["GroupId"]
        except (ClientError, BotoCoreError):
            return None

    def honours_client_tokens(self, file_system, token):
        """Whether a repeated ClientToken finds the first access point, as on AWS, or makes another one."""
        made = []
        try:
            for _ in range(2):
                made.append(self.efs.create_access_point(ClientToken=token, FileSystemId=file_system)["AccessPointId"])
        except self.efs.exceptions.AccessPointAlreadyExists:
            pass
        for access_point in set(made):
            self.efs.delete_access_point(AccessPointId=access_point)
        return len(set(made)) == 1

    def service(self, name):
        """The service, with tags; None if there is none, or only an INACTIVE one."""
        found = self.ecs.describe_services(cluster=CLUSTER, services=[name], include=["TAGS"])["services"]
        return next((service for service in found if service["status"] != "INACTIVE"), None)

    def has_tasks(self, name):
        """Whether a task of a service has not ended: without a container runtime, fakecloud ends each at once and goes on listing it."""
        tasks = self.ecs.list_tasks(cluster=CLUSTER, serviceName=name)["taskArns"]
        found = self.ecs.describe_tasks(cluster=CLUSTER, tasks=tasks)["tasks"] if tasks else []
        return any(task["lastStatus"] != "STOPPED" for task in found)

    def checks_health(self, name):
        """Whether any task of a service has a result of its health check; every user's container has a check."""
        tasks = self.ecs.list_tasks(cluster=CLUSTER, serviceName=name)["taskArns"]
        found = self.ecs.describe_tasks(cluster=CLUSTER, tasks=tasks)["tasks"] if tasks else []
        return any(task.get("healthStatus", "UNKNOWN") != "UNKNOWN" for task in found)

    def definition(self, arn):
        """A revision, and its tags as a dict."""
        answer = self.ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
        return answer["taskDefinition"], {tag["key"]: tag["value"] for tag in answer.get("tags", [])}

    def access_points(self, file_system, path):
        """The access points of a user: one, or none after a delete."""
        found = []
        for page in self.efs.get_paginator("describe_access_points").paginate(FileSystemId=file_system):
            found += page["AccessPoints"]
        return [point for point in found if point["RootDirectory"]["Path"] == path]

    def deploy_base(self, image, variable):
        """Registers a new revision of the base, as infrastructure would deploy it. Returns its ARN."""
        before, tags = self.definition(BASE_FAMILY)
        request = {name: value for name, value in before.items() if name in INPUT_MEMBERS and value not in ([], None)}
        container = request["containerDefinitions"][0]
        container["image"] = image
        container["environment"] = [*container.get("environment", []), {"name": variable[0], "value": variable[1]}]
        request["tags"] = [{"key": key, "value": value} for key, value in tags.items()]
        return self.ecs.register_task_definition(**request)["taskDefinition"]["taskDefinitionArn"]
