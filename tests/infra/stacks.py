"""Synthesized stacks on an emulator's CloudFormation; records the resources that the emulator does not make."""

import json
import re

# Members that moto 5.2 fails on and AWS accepts; they are left out for moto.
ADAPTATIONS = {
    "AWS::SSM::Parameter": ("Tags", "a map of tags, as CloudFormation has it there, ends in an error"),
}
# Attributes that moto does not know; an output that uses one fails.
UNKNOWN_ATTRIBUTES = ["TargetGroupFullName", "LoadBalancerFullName"]


class Stacks:
    """The stacks of one cloud assembly."""

    def __init__(self, assembly, client):
        self.assembly = assembly
        self.client = client
        self.templates = {}
        self.made = {}
        self.not_made = set()

    def deploy(self, name):
        """Creates a stack; remembers the resources that the emulator made and left out."""
        template = json.loads((self.assembly / f"{name}.template.json").read_text())
        self.templates[name] = template
        self.client.create_stack(StackName=name, TemplateBody=json.dumps(adapted(template)), Capabilities=["CAPABILITY_IAM"])
        status = self.client.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
        if status != "CREATE_COMPLETE":
            raise RuntimeError(f"{name} is {status}")
        found = self.client.describe_stack_resources(StackName=name)["StackResources"]
        made = {resource["LogicalResourceId"]: resource.get("PhysicalResourceId") for resource in found if resource.get("LogicalResourceId")}
        self.made[name] = made
        self.not_made |= {resource["Type"] for logical_id, resource in template["Resources"].items() if logical_id not in made}
        return len(made), len(template["Resources"])

    def resources(self, name, kind):
        """Logical ids and properties of the resources of a type."""
        return {logical_id: resource["Properties"] for logical_id, resource in self.templates[name]["Resources"].items()
                if resource["Type"] == kind}

    def value(self, name, value, account, region):
        """A value of a template with its references filled in, as CloudFormation would."""
        known = {"AWS::AccountId": account, "AWS::Region": region, "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com"}
        if isinstance(value, list):
            return [self.value(name, item, account, region) for item in value]
        if not isinstance(value, dict):
            return value
        if "Ref" in value:
            return known.get(value["Ref"]) or self.made[name][value["Ref"]]
        if "Fn::Join" in value:
            between, parts = value["Fn::Join"]
            return between.join(self.value(name, part, account, region) for part in parts)
        if "Fn::GetAtt" in value:
            logical_id, attribute = value["Fn::GetAtt"]
            if self.templates[name]["Resources"][logical_id]["Type"] == "AWS::IAM::Role" and attribute == "Arn":
                return f"arn:aws:iam::{account}:role/{self.made[name][logical_id]}"
        if any(key.startswith("Fn::") for key in value):
            raise KeyError(f"{name}: {value} is not understood here")
        return {key: self.value(name, item, account, region) for key, item in value.items()}


def adapted(template):
    template = json.loads(json.dumps(template))
    for resource in template["Resources"].values():
        left_out, _ = ADAPTATIONS.get(resource["Type"], (None, None))
        resource.get("Properties", {}).pop(left_out, None)
    template["Outputs"] = {name: output for name, output in template.get("Outputs", {}).items()
                           if not any(attribute in json.dumps(output["Value"]) for attribute in UNKNOWN_ATTRIBUTES)}
    return template


def request(properties):
    """Properties of AWS::ECS::TaskDefinition as the request of RegisterTaskDefinition: other capitals, same words."""
    def lower(name):
        # Only `EFSVolumeConfiguration`, `FilesystemId` and `IAM` differ in more than the first letter.
        special = {"EFSVolumeConfiguration": "efsVolumeConfiguration", "FilesystemId": "fileSystemId", "IAM": "iam"}
        return special.get(name) or re.sub(r"^[A-Z]+(?![a-z])|^[A-Z]", lambda found: found[0].lower(), name)

    def walk(value, keep=False):
        if isinstance(value, list):
            return [walk(item) for item in value]
        if isinstance(value, dict):
            # Names of options and labels are data.
            return {name if keep else lower(name): walk(item, name in ("Options", "DockerLabels")) for name, item in value.items()}
        return value

    return walk(properties)
