import assert from "node:assert/strict";
import { test } from "node:test";
import { InvalidSettings, parseSettings } from "../lib/settings.ts";
import { imageFor, releaseOf } from "../lib/version-file.ts";
import { DEV, PROD, TOKENS, VERSIONS } from "./synth.ts";

/** The errors for a context, one line each. */
function problems(context: Record<string, unknown>): string[] {
  try {
    parseSettings(context);
  } catch (error) {
    if (error instanceof InvalidSettings)
      return error.message
        .split("\n")
        .slice(1)
        .map((line) => line.trim());
    throw error;
  }
  return [];
}

test("dev needs nothing but its name, and is cheap", () => {
  const settings = parseSettings({ env: "dev", "aws:cdk:version-reporting": true, "cli-telemetry": false });
  assert.deepEqual(
    [
      settings.name,
      settings.ssmPath,
      settings.strict,
      settings.natGateways,
      settings.interfaceEndpoints,
      settings.throughputMode,
      settings.provisioner,
    ],
    ["openclaw-dev", "/openclaw/dev", false, 1, false, "bursting", undefined],
  );
});

test("every other environment is strict", () => {
  assert.deepEqual(problems(PROD), []);
  assert.equal(parseSettings(PROD).natGateways, 2);
  const { certificateArn: _, ...plain } = PROD;
  assert.match(problems(plain).join(), /^certificateArn: is not set, and prod takes no tokens over plain HTTP; give/);
  assert.match(problems({ ...PROD, provisionerTag: "latest" }).join(), /^provisionerTag: latest can be pushed over/);
});

test("all mistakes are named at once, each with its key and its fix", () => {
  const found = problems({
    env: "Dev",
    natgateways: 1,
    natGateways: 3,
    cpu: 300,
    architecture: "amd64",
    throughputMode: "fast",
    executeCommand: "yes",
    webAppSecurityGroupIds: "sg-0123456789abcdef0,10.0.0.0/8",
    provisionerTag: "a b",
    certificateArn: "x",
  });
  const keys = [
    "natgateways",
    "env",
    "natGateways",
    "cpu",
    "architecture",
    "throughputMode",
    "webAppSecurityGroupIds",
    "executeCommand",
    "provisionerTag",
    "certificateArn",
    "tokensSecretArn",
  ];
  assert.deepEqual(found.map((line) => line.split(":")[0]).sort(), keys.sort());
  assert.ok(
    found.every((line) => / (write|give|set|create) /.test(line)),
    found.join("\n"),
  );
});

test("an existing VPC needs one subnet per zone, and accepts no settings of a new one", () => {
  const vpc = {
    env: "dev",
    vpcId: "vpc-0123456789abcdef0",
    privateSubnetIds: "subnet-0123456789abcdef0",
    availabilityZones: "us-east-1a",
  };
  assert.deepEqual(problems(vpc), []);
  assert.match(problems({ ...vpc, natGateways: 1 }).join(), /^natGateways: belongs to a VPC that is made here/);
  assert.match(problems({ ...vpc, availabilityZones: "" }).join(), /^availabilityZones: 0 of them/);
  assert.match(
    problems({ ...vpc, provisionerTag: "0.1.0", tokensSecretArn: TOKENS }).join(),
    /^privateSubnetIds: .*load balancer/,
  );
  assert.match(
    problems({ env: "dev", privateSubnetIds: "subnet-0123456789abcdef0" }).join(),
    /^privateSubnetIds: belongs to an existing VPC/,
  );
});

test("the range of a new VPC is private, and its subnets fit into it", () => {
  const found = (vpcCidr: string, more: object = {}) => problems({ env: "dev", vpcCidr, ...more }).join();
  for (const fits of ["10.64.0.0/16", "10.0.128.0/17", "172.31.192.0/18", "192.168.0.0/16", "100.127.0.0/16"])
    assert.equal(found(fits), "", fits);
  for (const [wrong, why] of [
    ["10.64.0.0", /is no range/],
    ["10.256.0.0/16", /is no range/],
    ["10.64.0.0/15", /too small or too large/],
    ["10.64.0.0/19", /too small or too large/],
    ["10.64.1.0/16", /does not begin/],
    ["10.64.32.0/18", /does not begin/],
    ["10.64.0.1/16", /does not begin/],
    ["172.32.0.0/16", /is not private/],
    ["11.0.0.0/16", /is not private/],
    ["100.128.0.0/16", /is not private/],
  ] as const) {
    assert.match(found(wrong), why, wrong);
    assert.match(found(wrong), /^vpcCidr: .*; write it like/);
  }
  const existing = {
    vpcId: "vpc-0123456789abcdef0",
    privateSubnetIds: "subnet-0123456789abcdef0",
    availabilityZones: "us-east-1a",
  };
  assert.match(found("10.64.0.0/16", existing), /^vpcCidr: belongs to a VPC that is made here/);
});

test("route tables need an existing VPC", () => {
  const tables = "rtb-0123456789abcdef0,rtb-0123456789abcdef1";
  assert.match(problems({ env: "dev", privateRouteTableIds: tables }).join(), /belongs to an existing VPC; set vpcId/);
  assert.match(problems({ env: "dev", privateRouteTableIds: "all" }).join(), /write ids like rtb-/);
});

test("the size is one of Fargate's", () => {
  assert.deepEqual(parseSettings({ env: "dev", cpu: "1024", memoryMib: "4096" }).size, { cpu: 1024, memoryMib: 4096 });
  assert.match(
    problems({ env: "dev", cpu: "1024", memoryMib: "1024" }).join(),
    /^memoryMib: 1024 does not go with cpu 1024; write 2048 to 8192/,
  );
});

test("a budget is an amount, and needs an address for its mails", () => {
  const found = (budgetUsd: string, more: object = { alarmEmail: "ops@example.com" }) =>
    problems({ env: "dev", budgetUsd, ...more }).join();
  assert.equal(found("500"), "");
  assert.match(found("0"), /^budgetUsd: 0 is out of range; write/);
  assert.match(found("a lot"), /^budgetUsd: /);
  assert.match(found("500", {}), /^budgetUsd: has nobody to be told; set alarmEmail/);
});

test("ECS Exec in a container needs a writable root", () => {
  assert.match(problems({ env: "dev", executeCommand: "true" }).join(), /^executeCommand: .*; set readonlyRoot=false/);
  assert.deepEqual(problems({ env: "dev", executeCommand: "true", readonlyRoot: "false" }), []);
});

test("users' own roles are on, off, or on their way out", () => {
  const found = (userRoles?: string) => parseSettings({ env: "dev", ...(userRoles && { userRoles }) }).userRoles;
  assert.deepEqual([found(), found("false"), found("true"), found("leaving")], ["off", "off", "on", "leaving"]);
  assert.equal(parseSettings(PROD).userRolesPath, "/openclaw/prod/users/");
  assert.match(problems({ env: "dev", userRoles: "yes" }).join(), /^userRoles: .*; write true, false or leaving/);
});

test("the provisioner's tokens lie where no user's container can be given them", () => {
  assert.match(
    problems({ ...DEV, tokensSecretArn: TOKENS.replace("/tokens", "/users/tokens") }).join(),
    /^tokensSecretArn: lies where users/,
  );
  assert.match(
    problems({ ...DEV, tokensSecretArn: TOKENS.replace("-AbCdEf", "") }).join(),
    /^tokensSecretArn: .* is not valid/,
  );
});

test("with a placeholder dev runs upstream, and other environments fail with the fix", () => {
  const file = { ...VERSIONS, environments: { dev: { tag: "2026.9.6-bootstrap" }, prod: { tag: null } } };
  const dev = imageFor(file, "dev", false);
  assert.equal(dev.image, VERSIONS.upstream);
  assert.match(dev.fallback ?? "", /environments\.dev\.tag is the placeholder 2026\.9\.6-bootstrap/);
  assert.throws(
    () => imageFor(file, "prod", true),
    /environments\.prod\.tag is null; build and push openclaw-extended/,
  );
  assert.throws(() => imageFor(file, "staging", true), /has no staging; deploy one of dev, prod/);
  assert.equal(imageFor(VERSIONS, "prod", true).image, "openclaw-extended:2026.9.6-71624b4");
});

test("the release is read from the tag", () => {
  assert.deepEqual(releaseOf("ghcr.io/openclaw/openclaw:2026.4.25-slim"), [2026, 4, 25]);
  assert.deepEqual(releaseOf("openclaw-extended:2026.9.6-71624b4"), [2026, 9, 6]);
  assert.equal(releaseOf("localhost:5000/openclaw:main"), undefined);
});
