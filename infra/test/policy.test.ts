// Proves least privilege: the provisioner's role allows only what the Rust code can call.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { asList, DEV, flat, PROD, resources, ROLES, statementsOf, templates, type Json } from "./synth.ts";

const callable = JSON.parse(readFileSync(new URL("../aws-actions.json", import.meta.url), "utf8")) as { actions: Json };

/** The statements of the provisioner's task role. */
function statements(context: Record<string, unknown>): Json[] {
  const { provisioner } = templates(context);
  assert.ok(provisioner);
  return statementsOf(provisioner, "TaskRole");
}

/** What is called of IAM, but for handing roles to tasks: only where users have roles of their own. */
const isOfUsersRoles = (action: string) => action.startsWith("iam:") && action !== "iam:PassRole";

for (const context of [DEV, PROD, ROLES, { ...PROD, userRoles: "leaving" }]) {
  const roles = "userRoles" in context ? ", with users' own roles" : "";
  test(`${context.env}${roles}: the role allows what the code can call, no more and no less`, () => {
    const found = statements(context);
    assert.ok(found.every((statement) => statement["Effect"] === "Allow" && statement["NotAction"] === undefined));
    const allowed = found.flatMap((statement) => asList<string>(statement["Action"]));
    const called = Object.keys(callable.actions).filter((action) => roles !== "" || !isOfUsersRoles(action));
    assert.deepEqual([...new Set(allowed)].sort(), called.sort());
    assert.equal(new Set(allowed).size, allowed.length, "no action is allowed twice: the second would widen the first");
  });
}

/** The statement that allows an action, its resources readable. */
function allowing(action: string, context: Record<string, unknown> = DEV): { resources: string[]; condition: Json } {
  const statement = statements(context).find((one) => asList<string>(one["Action"]).includes(action));
  assert.ok(statement, action);
  const condition = JSON.parse(JSON.stringify(statement["Condition"] ?? {}), (_, value) =>
    value !== null && typeof value === "object" && Object.keys(value).some((key) => /^(Fn::|Ref$)/.test(key))
      ? flat(value)
      : value,
  );
  return { resources: asList<unknown>(statement["Resource"]).map(flat), condition };
}

const ecs = (rest: string) => `arn:{Partition}:ecs:{Region}:{AccountId}:${rest}`;
const inCluster = { ArnEquals: { "ecs:cluster": ecs("cluster/openclaw-dev") } };

test("only three statements are for every resource, where AWS allows nothing narrower", () => {
  const everywhere = statements(DEV)
    .filter((one) => asList(one["Resource"]).includes("*"))
    .flatMap((one) => asList<string>(one["Action"]));
  assert.deepEqual(everywhere.sort(), [
    "ecs:DeregisterTaskDefinition",
    "ecs:DescribeTaskDefinition",
    "ecs:ListServices",
    "ecs:ListTaskDefinitions",
    "ecs:ListTasks",
  ]);
  assert.deepEqual(allowing("ecs:ListTasks").condition, inCluster);
});

test("only quotas that limit the number of users can be read", () => {
  const quota = (name: string) => `arn:{Partition}:servicequotas:{Region}:{AccountId}:${name}`;
  assert.deepEqual(allowing("servicequotas:GetServiceQuota"), {
    resources: [quota("fargate/L-3032A538"), quota("vpc/L-DF5E4CA3"), quota("ecs/L-9EF96962")],
    condition: {},
  });
});

test("definitions are registered only in the user family, with a user's tag", () => {
  assert.deepEqual(allowing("ecs:RegisterTaskDefinition"), {
    resources: [ecs("task-definition/openclaw-dev-user:*")],
    condition: { Null: { "aws:RequestTag/openclaw:user-id": "false" } },
  });
});

test("definitions are deleted only in the user family", () => {
  assert.deepEqual(allowing("ecs:DeleteTaskDefinitions"), {
    resources: [ecs("task-definition/openclaw-dev-user:*")],
    condition: {},
  });
});

test("services are only those of this environment, and run only users' definitions", () => {
  for (const [action, key] of [
    ["ecs:CreateService", "RequestTag"],
    ["ecs:UpdateService", "ResourceTag"],
  ] as const) {
    assert.deepEqual(allowing(action), {
      resources: [ecs("service/openclaw-dev/openclaw-*")],
      condition: {
        StringEquals: { [`aws:${key}/openclaw:base-family`]: "openclaw-dev" },
        ArnLikeIfExists: { "ecs:task-definition": ecs("task-definition/openclaw-dev-user:*") },
        "ForAllValues:StringLike": allowing(action).condition["ForAllValues:StringLike"],
        BoolIfExists: { "ecs:auto-assign-public-ip": "false" },
        StringNotEqualsIgnoreCaseIfExists: { "ecs:enable-execute-command": "true" },
      },
    });
    const subnets = allowing(action).condition["ForAllValues:StringLike"]["ecs:subnet"] as unknown[];
    assert.equal(subnets.length, 2);
    assert.ok(
      subnets.every((subnet) => /^\*.*Subnet/.test(flat(subnet))),
      JSON.stringify(subnets),
    );
  }
});

test("the provisioner's own service is not among those that it may change", () => {
  const { provisioner } = templates(DEV);
  assert.ok(provisioner);
  provisioner.hasResourceProperties("AWS::ECS::Service", { ServiceName: "provisioner" });
});

/** Incident 9: PassRole was granted for one of the two roles only. */
test("both roles can be passed, only to tasks", () => {
  const { resources: passed, condition } = allowing("iam:PassRole");
  assert.deepEqual(condition, { StringEquals: { "iam:PassedToService": "ecs-tasks.amazonaws.com" } });
  assert.equal(passed.length, 2);
  assert.ok(
    passed.some((arn) => arn.includes("UserRolesTask")) && passed.some((arn) => arn.includes("UserRolesExecution")),
    passed.join(),
  );
});

test("users' own roles are made, written and handed to tasks under one path, and never without the boundary", () => {
  const usersOwn = "arn:{Partition}:iam::{AccountId}:role/openclaw/dev/users/*";
  const boundary = /UserRolesBoundary/;
  for (const action of ["iam:CreateRole", "iam:PutRolePolicy", "iam:DeleteRolePolicy"]) {
    const { resources: found, condition } = allowing(action, ROLES);
    assert.deepEqual(found, [usersOwn], action);
    assert.match(condition["StringEquals"]["iam:PermissionsBoundary"], boundary, action);
  }
  for (const action of ["iam:CreateRole", "iam:TagRole"]) {
    const { condition } = allowing(action, ROLES);
    assert.equal(condition["StringEquals"]["aws:RequestTag/openclaw:base-family"], "openclaw-dev", action);
  }
  const { resources: passed, condition } = allowing("iam:PassRole", ROLES);
  assert.equal(passed.filter((arn) => arn.includes("*")).join(), usersOwn);
  assert.deepEqual(condition, { StringEquals: { "iam:PassedToService": "ecs-tasks.amazonaws.com" } });
  // What would take the boundary off, or widen what it allows, is in no statement.
  const allowed = statements(ROLES).flatMap((one) => asList<string>(one["Action"]));
  assert.ok(!allowed.some((action) => /Boundary|CreatePolicy|AttachRole|UpdateAssume|AssumeRole/.test(action)));
});

test("tags are only set on what is made", () => {
  assert.deepEqual(allowing("ecs:TagResource").condition, {
    StringEquals: { "ecs:CreateAction": ["CreateService", "RegisterTaskDefinition"] },
  });
  assert.deepEqual(allowing("elasticfilesystem:TagResource").condition, {
    StringEquals: { "elasticfilesystem:CreateAction": "CreateAccessPoint" },
  });
});

test("only this environment's access points are created and deleted, never the root's", () => {
  assert.deepEqual(allowing("elasticfilesystem:DeleteAccessPoint").condition, {
    StringEquals: { "aws:ResourceTag/openclaw:base-family": "openclaw-dev" },
  });
  const { fleet } = templates(DEV);
  const [root] = Object.values(resources(fleet, "AWS::EFS::AccessPoint"));
  assert.ok(
    root?.["AccessPointTags"].every((tag: Json) => tag["Key"] !== "openclaw:base-family"),
    JSON.stringify(root),
  );
});

test("the root is mounted through its own access point", () => {
  const { condition } = allowing("elasticfilesystem:ClientRootAccess");
  assert.match(condition["ArnEquals"]["elasticfilesystem:AccessPointArn"], /FileSystemRoot/);
});

test("coordinates are read only below the one path", () => {
  assert.deepEqual(
    allowing("ssm:GetParametersByPath").resources,
    ["parameter/openclaw/dev", "parameter/openclaw/dev/*"].map((name) => ecs(name).replace(":ecs:", ":ssm:")),
  );
});
