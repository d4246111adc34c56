// Tenants: what a user's container can reach and mount.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Template } from "aws-cdk-lib/assertions";
import {
  asList,
  containerOf,
  DEV,
  flat,
  only,
  PROD,
  resources,
  statementsOf,
  templates,
  WEB_APP,
  type Json,
} from "./synth.ts";

interface Rule {
  direction: "in" | "out";
  group: string;
  peer: string;
  port: string;
}

/** Every rule of a template, inline ones too; groups by the part of their logical id that names them. */
function rules(template: Template): Rule[] {
  const name = (id: unknown) => /\{Groups([A-Z][A-Za-z]*?)[0-9A-F]{8}/.exec(flat(id))?.[1] ?? flat(id);
  const port = (rule: Json) =>
    `${rule["IpProtocol"]}:${rule["FromPort"]}${rule["FromPort"] === rule["ToPort"] ? "" : `-${rule["ToPort"]}`}`;
  const peer = (rule: Json) =>
    rule["CidrIp"] ?? rule["CidrIpv6"] ?? name(rule["SourceSecurityGroupId"] ?? rule["DestinationSecurityGroupId"]);
  const found: Rule[] = [];
  for (const [id, group] of Object.entries(resources(template, "AWS::EC2::SecurityGroup"))) {
    for (const [member, direction] of [
      ["SecurityGroupIngress", "in"],
      ["SecurityGroupEgress", "out"],
    ] as const) {
      for (const rule of group[member] ?? [])
        found.push({ direction, group: name({ Ref: id }), peer: flat(peer(rule)), port: port(rule) });
    }
  }
  for (const [type, direction] of [
    ["AWS::EC2::SecurityGroupIngress", "in"],
    ["AWS::EC2::SecurityGroupEgress", "out"],
  ] as const) {
    for (const rule of Object.values(resources(template, type)))
      found.push({ direction, group: name(rule["GroupId"]), peer: flat(peer(rule)), port: port(rule) });
  }
  // CDK's rule for a group without outgoing traffic.
  return found.filter((rule) => rule.peer !== "255.255.255.255/32");
}

const said = (found: Rule[]) => found.map(({ group, peer, port }) => `${group} ${peer} ${port}`).sort();

for (const context of [DEV, PROD]) {
  const { network, fleet, provisioner, observability } = templates(context);
  const found = rules(network);
  const listener = context === PROD ? "tcp:443" : "tcp:80";

  test(`${context.env}: only provisioner and web app reach gateways`, () => {
    assert.deepEqual(said(found.filter((rule) => rule.direction === "in" && rule.group === "Users")), [
      "Users Provisioner tcp:18789",
      "Users WebApp tcp:18789",
      `Users ${WEB_APP} tcp:18789`,
    ]);
  });

  test(`${context.env}: users' containers reach only HTTPS and the file system`, () => {
    assert.deepEqual(said(found.filter((rule) => rule.direction === "out" && rule.group === "Users")), [
      "Users 0.0.0.0/0 tcp:443",
      "Users FileSystem tcp:2049",
    ]);
  });

  test(`${context.env}: only file system and AWS endpoints accept users' containers`, () => {
    const letting = found.filter(
      (rule) => rule.direction === "in" && (rule.peer === "Users" || rule.peer.includes("/")),
    );
    assert.deepEqual(said(letting), [
      ...(context === PROD ? ["Endpoints Users tcp:443"] : []),
      "FileSystem Users tcp:2049",
    ]);
  });

  test(`${context.env}: the web application reaches the API by the load balancer`, () => {
    const of = (group: string) => said(found.filter((rule) => rule.direction === "in" && rule.group === group));
    assert.deepEqual(
      [of("LoadBalancer"), of("Provisioner")],
      [
        [`LoadBalancer WebApp ${listener}`, `LoadBalancer ${WEB_APP} ${listener}`],
        ["Provisioner LoadBalancer tcp:8080"],
      ],
    );
  });

  test(`${context.env}: the web app's group is an output, and allows only these two`, () => {
    const [value] = Object.values(network.findOutputs("*")).filter((output) =>
      /GroupsWebApp/.test(flat(output["Value"])),
    );
    assert.ok(value, "an output");
    assert.deepEqual(said(found.filter((rule) => rule.group === "WebApp")), [
      `WebApp LoadBalancer ${listener}`,
      "WebApp Users tcp:18789",
    ]);
    assert.ok(provisioner);
    const [port] = Object.values(resources(provisioner, "AWS::ElasticLoadBalancingV2::Listener"));
    assert.equal(`tcp:${port?.["Port"]}`, listener);
  });

  test(`${context.env}: EC2 accepts the descriptions of groups and rules`, () => {
    const words = JSON.stringify(network.toJSON()).matchAll(/"(?:Group)?Description":("(?:[^"\\]|\\.)*")/g);
    const said = [...words].map(([, literal = ""]) => JSON.parse(literal) as string);
    assert.ok(said.length > 10, said.join());
    // For example no apostrophes (EC2 API reference, CreateSecurityGroup and IpRange). cfn-lint does not check rules.
    assert.deepEqual(
      said.filter((text) => !/^[a-zA-Z0-9. _:/()#,@[\]+=&;{}!$*-]{1,255}$/.test(text)),
      [],
    );
  });

  test(`${context.env}: no other stack adds a rule`, () => {
    assert.ok(provisioner);
    assert.deepEqual([...rules(fleet), ...rules(provisioner)], []);
  });

  test(`${context.env}: no mount without TLS or without an access point`, () => {
    const statements = only(fleet, "AWS::EFS::FileSystem")["FileSystemPolicy"]["Statement"] as Json[];
    const client = ["ClientMount", "ClientWrite", "ClientRootAccess"].map((name) => `elasticfilesystem:${name}`);
    assert.ok(
      statements.every((statement) => statement["Effect"] === "Deny"),
      "it allows nothing",
    );
    for (const condition of [
      { Bool: { "aws:SecureTransport": "false" } },
      { Null: { "elasticfilesystem:AccessPointArn": "true" } },
    ]) {
      const [statement] = statements.filter((one) => JSON.stringify(one["Condition"]) === JSON.stringify(condition));
      assert.deepEqual(
        [statement?.["Principal"], statement?.["Action"], statement?.["Resource"]],
        [{ AWS: "*" }, client, "*"],
      );
    }
    const [asRoot, ...others] = statements.filter((one) => one["Condition"] === undefined);
    assert.match(flat(asRoot?.["Principal"]["AWS"]), /UserRolesTask/);
    assert.deepEqual([asRoot?.["Action"], others], ["elasticfilesystem:ClientRootAccess", []]);
    const keys = statements.flatMap((one) =>
      Object.values((one["Condition"] ?? {}) as Json).flatMap((test) => Object.keys(test)),
    );
    // The keys that EFS enforces for NFS clients; any other key has no effect.
    assert.ok(
      keys.every((key) => ["aws:SecureTransport", "elasticfilesystem:AccessPointArn"].includes(key)),
      keys.join(),
    );
  });

  test(`${context.env}: users' task role can only mount through access points`, () => {
    const statements = statementsOf(fleet, "UserRolesTask");
    const allowed = statements.filter((statement) => statement["Effect"] === "Allow");
    assert.deepEqual(
      allowed.flatMap((one) => asList(one["Action"])),
      ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
    );
    assert.match(flat(allowed[0]?.["Condition"]["ArnLike"]["elasticfilesystem:AccessPointArn"]), /:access-point\/\*$/);
    assert.match(flat(allowed[0]?.["Resource"]), /FileSystem/);
    const [never] = statements.filter((statement) => statement["Effect"] === "Deny");
    assert.match(
      flat(never?.["Condition"]["ArnEquals"]["elasticfilesystem:AccessPointArn"]),
      /:access-point\/\{FileSystemRoot/,
    );
  });

  test(`${context.env}: the execution role pulls, logs and reads secrets of one prefix`, () => {
    const statements = statementsOf(fleet, "UserRolesExecution");
    assert.ok(statements.every((statement) => statement["Effect"] === "Allow"));
    assert.deepEqual(statements.flatMap((one) => asList<string>(one["Action"])).sort(), [
      "ecr:BatchCheckLayerAvailability",
      "ecr:BatchGetImage",
      "ecr:GetAuthorizationToken",
      "ecr:GetDownloadUrlForLayer",
      "logs:CreateLogStream",
      "logs:PutLogEvents",
      "secretsmanager:GetSecretValue",
    ]);
    const secrets = statements.find((one) => asList(one["Action"]).includes("secretsmanager:GetSecretValue"));
    assert.match(flat(secrets?.["Resource"]), new RegExp(`:secret:openclaw/${context.env}/users/\\*$`));
  });

  test(`${context.env}: no other stack gives users' roles a permission`, () => {
    assert.ok(provisioner);
    for (const template of [network, provisioner, observability])
      assert.ok(
        Object.values(resources(template, "AWS::IAM::Policy")).every(
          (policy) => !policy["Roles"].some((role: unknown) => flat(role).includes("UserRoles")),
        ),
      );
  });
}

test("the boundary of users' own roles allows what the shared role allows, and stays while there may be some", () => {
  const shared = (more: object) => statementsOf(templates({ ...DEV, ...more }).fleet, "UserRolesTask");
  const boundary = (more: object) =>
    Object.values(resources(templates({ ...DEV, ...more }).fleet, "AWS::IAM::ManagedPolicy"));
  assert.deepEqual(boundary({}), []);
  for (const more of [{}, { executeCommand: "true", readonlyRoot: "false" }, { bedrock: "true" }]) {
    for (const userRoles of ["true", "leaving"]) {
      const [policy, ...others] = boundary({ ...more, userRoles });
      assert.equal(others.length, 0);
      assert.deepEqual(policy?.["PolicyDocument"]["Statement"], shared({ ...more, userRoles }));
      assert.equal(policy?.["Roles"], undefined, "it is attached to nobody");
    }
  }
});

test("the service is told of users' own roles where there are some", () => {
  const told = (userRoles: string) => {
    const { provisioner } = templates({ ...DEV, userRoles });
    assert.ok(provisioner);
    const environment = containerOf(provisioner)["Environment"] as Json[];
    const named = environment.filter((one) => one["Name"].startsWith("PROVISIONER_USER_ROLES"));
    return Object.fromEntries(named.map((one) => [one["Name"], flat(one["Value"])]));
  };
  assert.deepEqual(told("false"), {});
  for (const [userRoles, given] of [
    ["true", "true"],
    ["leaving", "false"],
  ] as const) {
    const { PROVISIONER_USER_ROLES_BOUNDARY: boundary, ...others } = told(userRoles);
    assert.match(boundary ?? "", /UserRolesBoundary/);
    assert.deepEqual(others, {
      PROVISIONER_USER_ROLES: given,
      PROVISIONER_USER_ROLES_PATH: "/openclaw/dev/users/",
    });
  }
});

test("both architectures synthesize with and without users' own roles", () => {
  for (const architecture of ["arm64", "x86_64"]) {
    for (const userRoles of ["true", "false"]) {
      const { fleet, provisioner } = templates({ ...DEV, architecture, userRoles });
      assert.ok(provisioner);
      for (const template of [fleet, provisioner]) {
        const platform = only(template, "AWS::ECS::TaskDefinition")["RuntimePlatform"];
        assert.equal(platform["CpuArchitecture"], architecture === "arm64" ? "ARM64" : "X86_64");
      }
      const policies = Object.keys(resources(fleet, "AWS::IAM::ManagedPolicy"));
      assert.equal(policies.length, userRoles === "true" ? 1 : 0);
    }
  }
});

test("a shell in users' containers and models on Bedrock are allowed only where they are asked for", () => {
  const actions = (more: object) => JSON.stringify(resources(templates({ ...DEV, ...more }).fleet, "AWS::IAM::Policy"));
  assert.ok(!/ssmmessages|bedrock/.test(actions({})));
  assert.match(actions({ executeCommand: "true", readonlyRoot: "false" }), /ssmmessages:OpenDataChannel/);
  assert.match(actions({ bedrock: "true" }), /bedrock:InvokeModel/);
});

test("only tasks of this account can assume the roles", () => {
  const { fleet, provisioner } = templates(DEV);
  assert.ok(provisioner);
  const roles = [fleet, provisioner].flatMap((template) => Object.values(resources(template, "AWS::IAM::Role")));
  assert.equal(roles.length, 4);
  for (const role of roles) {
    const [statement] = role["AssumeRolePolicyDocument"]["Statement"] as Json[];
    assert.deepEqual(statement?.["Principal"], { Service: "ecs-tasks.amazonaws.com" });
    assert.deepEqual(statement?.["Condition"]["StringEquals"], { "aws:SourceAccount": { Ref: "AWS::AccountId" } });
  }
});
