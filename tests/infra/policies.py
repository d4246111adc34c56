"""Checks the synthesized IAM policies against the service authorization reference, as policy_sentry ships it: that actions exist,
that each accepts its resource, and that AWS sets the condition keys. A statement that is wrong in one of these
looks strict and refuses everything, which shows only in an account.

    policies.py infra/cdk.out [more assemblies]
"""

import json
import pathlib
import re
import sys

from policy_sentry.querying.actions import get_action_data

# Findings that stay, with the reason.
EXCEPTIONS = {}
# Keys about the caller, the request or its connection: every request has them (IAM user guide, global condition keys).
GLOBAL_KEYS = {"aws:SecureTransport", "aws:SourceAccount", "aws:SourceArn", "aws:SourceIp", "aws:PrincipalArn"}


def flat(value):
    """Text of a template's value; a value known only at deployment becomes a word that fits anywhere."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        if "Fn::Join" in value:
            between, parts = value["Fn::Join"]
            return between.join(flat(part) for part in parts)
        if value.get("Ref", "").startswith("AWS::"):
            return {"AWS::Partition": "aws", "AWS::AccountId": "123456789012"}.get(value["Ref"], "us-east-1")
        if "Fn::GetAtt" in value and value["Fn::GetAtt"][1] == "Arn":
            return {"role": "arn:aws:iam::123456789012:role/x"}.get(kind(value["Fn::GetAtt"][0]), "arn:any")
    name = json.dumps(value)
    # A value of another stack: the name of its export says what it is.
    if "ImportValue" in name and "Arn" in name:
        return "arn:aws:iam::123456789012:role/x" if "UserRoles" in name else "arn:any"
    return "x"


def kind(logical_id):
    return "role" if "Role" in logical_id else "other"


def listed(value):
    return value if isinstance(value, list) else [value]


def statements(template):
    """Every statement of a template's policies for actions, with its resource."""
    for logical_id, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        documents = {"AWS::IAM::Policy": properties.get("PolicyDocument"), "AWS::IAM::ManagedPolicy": properties.get("PolicyDocument"),
                     "AWS::EFS::FileSystem": properties.get("FileSystemPolicy")}
        for statement in (documents.get(resource["Type"]) or {}).get("Statement", []):
            yield logical_id, resource["Type"], statement


def fits(arn, pattern):
    """Whether a resource of a statement can be one of this type."""
    wanted, given = re.sub(r"\$\{[^}]*\}", "\0", pattern).split(":", 5), arn.split(":", 5)
    if len(given) < 6 or wanted[2] != given[2]:
        return arn == "arn:any"
    expression = re.escape(wanted[5]).replace(re.escape("\0"), ".+")
    # A `*` in the statement stands for anything, the rest of the type's pattern included.
    return re.fullmatch(expression, given[5]) is not None or re.match(re.escape(wanted[5].split("\0")[0]), given[5]) is not None


def problems(action, statement, about_itself):
    service, name = action.split(":")
    rows = (get_action_data(service, name) or {}).get(service, [])
    if not rows:
        yield f"{action} is no action"
        return
    typed = [row for row in rows if row["resource_arn_format"] != "*"]
    usable = [row for row in rows if row["resource_arn_format"] == "*"]
    for resource in listed(statement.get("Resource", "*")):
        resource = flat(resource)
        if resource == "*":
            if typed and not about_itself and "Condition" not in statement:
                yield f"{action} is allowed on every resource, and could be on {typed[0]['resource_arn_format']}"
            usable += typed
            continue
        fitting = [row for row in typed if fits(resource, row["resource_arn_format"])]
        if not fitting:
            yield f"{action} has no resource like {resource}"
        usable += fitting
    known = {re.sub(r"\$\{.*", "", key) for row in usable for key in row["condition_keys"]} | GLOBAL_KEYS
    for tests in statement.get("Condition", {}).values():
        for key in tests:
            if not any(key == one or (one.endswith("/") and key.startswith(one)) for one in known):
                yield f"{action} has no condition key {key}"


# Each is wrong in one way; a check that does not find them must not pass.
SERVICE = "arn:aws:ecs:us-east-1:123456789012:service/openclaw-dev/openclaw-*"
PLANTED = [
    {"Action": "ecs:StopAllServices", "Resource": "*"},
    {"Action": "ecs:CreateService", "Resource": SERVICE, "Condition": {"ArnEquals": {"ecs:cluster": "x"}}},
    {"Action": "ecs:DescribeTasks", "Resource": SERVICE},
    {"Action": "ecs:UpdateService", "Resource": "*"},
    {"Action": "elasticfilesystem:ClientMount", "Resource": "arn:any", "Condition": {"Null": {"elasticfilesystem:AccessPoint": "true"}}},
]


def main(assemblies):
    for statement in PLANTED:
        assert list(problems(statement["Action"], statement, False)), f"not found: {statement}"
    found, checked = set(), 0
    for template in sorted(path for assembly in assemblies for path in pathlib.Path(assembly).glob("*.template.json")):
        for logical_id, type_name, statement in statements(json.loads(template.read_text())):
            for action in listed(statement["Action"]):
                checked += 1
                found |= {f"{template.name} {logical_id}: {problem}" for problem in problems(action, statement, type_name == "AWS::EFS::FileSystem")}
    for problem in sorted(found - set(EXCEPTIONS)):
        print(f"FAIL  {problem}")
    for problem in sorted(set(EXCEPTIONS) - found):
        print(f"FAIL  an exception that nothing is found for: {problem}")
    bad = len(found ^ set(EXCEPTIONS))
    print(f"{checked} actions in policies held to the service authorization reference, {bad} findings")
    return 1 if bad or not checked else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
