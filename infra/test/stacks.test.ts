// Tests of the resources in the stacks that something depends on.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Match } from "aws-cdk-lib/assertions";
import { app, asList, containerOf, DEV, flat, only, PROD, resources, templates, type Json } from "./synth.ts";

test("the base is for Fargate, and mounts with IAM and without an access point", () => {
  const base = only(templates(DEV).fleet, "AWS::ECS::TaskDefinition");
  assert.deepEqual(
    [base["Family"], base["RequiresCompatibilities"], base["NetworkMode"], base["Cpu"], base["Memory"]],
    ["openclaw-dev", ["FARGATE"], "awsvpc", "512", "2048"],
  );
  assert.ok(base["TaskRoleArn"] && base["ExecutionRoleArn"]);
  const { FilesystemId: _, ...efs } = base["Volumes"][0]["EFSVolumeConfiguration"];
  assert.deepEqual(efs, { AuthorizationConfig: { IAM: "ENABLED" }, TransitEncryption: "ENABLED" });
});

test("containers and the service run on the chosen architecture, by default x86_64", () => {
  const runsOn = (more: object) => {
    const { fleet, provisioner } = templates({ ...PROD, ...more });
    assert.ok(provisioner);
    return [fleet, provisioner].map((stack) => only(stack, "AWS::ECS::TaskDefinition")["RuntimePlatform"]);
  };
  const linux = (name: string) => ({ CpuArchitecture: name, OperatingSystemFamily: "LINUX" });
  assert.deepEqual(runsOn({}), [linux("X86_64"), linux("X86_64")]);
  assert.deepEqual(runsOn({ architecture: "arm64" }), [linux("ARM64"), linux("ARM64")]);
});

test("the base's container is not root, has a read-only image and a health check", () => {
  const container = containerOf(templates(DEV).fleet);
  assert.deepEqual(
    [
      container["Image"],
      container["User"],
      container["ReadonlyRootFilesystem"],
      container["StopTimeout"],
      container["LinuxParameters"]["Capabilities"],
    ],
    ["ghcr.io/openclaw/openclaw:2026.9.6", "1000:1000", true, 60, { Drop: ["ALL"] }],
  );
  assert.match(
    container["HealthCheck"]["Command"].join(" "),
    /^CMD node -e fetch\("http:\/\/127.0.0.1:18789\/healthz"\)/,
  );
  assert.equal(container["Secrets"], undefined);
  const mount = container["MountPoints"][0]["ContainerPath"] as string;
  // No mount inside another: the order of mounts is not guaranteed, and the wrong one hides the user's directory.
  for (const { ContainerPath: path } of container["LinuxParameters"]["Tmpfs"] as Json[]) {
    assert.ok(!`${mount}/`.startsWith(`${path}/`) && !path.startsWith(`${mount}/`), path);
  }
});

test("containers ask for isolation, and keep the role only for Bedrock", () => {
  const asks = (more: object) => {
    const container = containerOf(templates({ ...DEV, ...more }).fleet);
    return [container["DockerLabels"]["openclaw.provisioner.isolation"], container["User"]];
  };
  assert.deepEqual(asks({}), ["without-role", "1000:1000"]);
  assert.deepEqual(asks({ executeCommand: "true", readonlyRoot: "false" }), ["without-role", "1000:1000"]);
  assert.deepEqual(asks({ bedrock: "true" }), ["with-role", "1000:1000"]);
});

test("a writable root needs no other writable places", () => {
  const container = containerOf(templates({ ...DEV, readonlyRoot: "false" }).fleet);
  assert.deepEqual([container["ReadonlyRootFilesystem"], container["LinuxParameters"]["Tmpfs"]], [false, undefined]);
});

test("a built image comes from the account's ECR", () => {
  const image = flat(containerOf(templates(PROD).fleet)["Image"]);
  assert.equal(image, "{AccountId}.dkr.ecr.{Region}.{URLSuffix}/openclaw-extended:2026.9.6-71624b4");
});

test("a user can be pinned to a built image while all others run upstream's", () => {
  const policies = Object.values(resources(templates(DEV).fleet, "AWS::IAM::Policy"));
  const pull = policies
    .flatMap((policy) => policy["PolicyDocument"]["Statement"] as Json[])
    .find((statement) => asList<string>(statement["Action"]).includes("ecr:BatchGetImage"));
  assert.equal(flat(pull?.["Resource"]), "arn:{Partition}:ecr:{Region}:{AccountId}:repository/openclaw-extended");
});

test("the coordinates are published under the names that the provisioner reads", () => {
  const published = Object.values(resources(templates(DEV).fleet, "AWS::SSM::Parameter"));
  assert.deepEqual(
    published.map((parameter) => parameter["Name"]).sort(),
    ["base-family", "cluster", "file-system-id", "security-groups", "subnets"].map((name) => `/openclaw/dev/${name}`),
  );
  assert.ok(published.every((parameter) => parameter["Type"] === "String"));
});

test("the file system is encrypted, and has a mount target in each zone", () => {
  templates(DEV).fleet.hasResourceProperties("AWS::EFS::FileSystem", { Encrypted: true });
  templates(DEV).fleet.resourceCountIs("AWS::EFS::MountTarget", 2);
});

test("prod keeps files and logs of its stacks, dev and failed deployments keep nothing", () => {
  for (const [context, deletion, replacement] of [
    [DEV, "Delete", "Delete"],
    [PROD, "RetainExceptOnCreate", "Retain"],
  ] as const) {
    const { network, fleet, provisioner, observability } = templates(context);
    assert.ok(provisioner);
    const data = [network, fleet, provisioner, observability].flatMap((template) =>
      ["AWS::EFS::FileSystem", "AWS::Logs::LogGroup"].flatMap((type) => Object.values(template.findResources(type))),
    );
    assert.equal(data.length, 5);
    for (const resource of data)
      assert.deepEqual([resource["DeletionPolicy"], resource["UpdateReplacePolicy"]], [deletion, replacement]);
  }
});

test("a base that is replaced stays ACTIVE, because it may be promoted", () => {
  for (const context of [DEV, PROD]) {
    const [base] = Object.values(templates(context).fleet.findResources("AWS::ECS::TaskDefinition"));
    assert.equal(base?.["UpdateReplacePolicy"], "Retain");
  }
});

test("prod's stacks are protected from deletion, and a failed deployment can be undone", () => {
  const { images: _, ...stacks } = app(PROD);
  assert.deepEqual(
    Object.values(stacks).map((stack) => stack.terminationProtection),
    [true, true, false, true],
  );
  const { provisioner } = templates(PROD);
  assert.ok(provisioner);
  const balancer = only(provisioner, "AWS::ElasticLoadBalancingV2::LoadBalancer");
  const attributes = (balancer["LoadBalancerAttributes"] as Json[]).map((one) => `${one["Key"]}=${one["Value"]}`);
  assert.ok(!attributes.includes("deletion_protection.enabled=true"), attributes.join());
});

test("an existing VPC is used, and none is created", () => {
  const { network, fleet } = templates({
    ...DEV,
    vpcId: "vpc-0123456789abcdef0",
    privateSubnetIds: "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    availabilityZones: "us-east-1a,us-east-1b",
  });
  network.resourceCountIs("AWS::EC2::VPC", 0);
  network.resourceCountIs("AWS::EC2::NatGateway", 0);
  fleet.hasResourceProperties("AWS::SSM::Parameter", {
    Name: "/openclaw/dev/subnets",
    Value: "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
  });
});

test("a new VPC has the chosen range, and outputs what a peering needs", () => {
  const { network } = templates({ ...DEV, vpcCidr: "10.65.0.0/18" });
  assert.equal(only(network, "AWS::EC2::VPC")["CidrBlock"], "10.65.0.0/18");
  assert.equal(only(templates(DEV).network, "AWS::EC2::VPC")["CidrBlock"], "10.64.0.0/16");
  const ranges = Object.values(resources(network, "AWS::EC2::Subnet")).map((subnet) => subnet["CidrBlock"]);
  assert.deepEqual(ranges.sort(), ["10.65.0.0/24", "10.65.1.0/24", "10.65.16.0/20", "10.65.32.0/20"]);
  const told = network.findOutputs("*");
  assert.ok(told["VpcId"]);
  // One route table for each private subnet: each needs the route back.
  assert.equal(flat(told["PrivateRouteTables"]?.["Value"]).split(",").length, 2);
});

test("image layers bypass NAT in a new VPC, and in an existing one with route tables", () => {
  const vpc = {
    ...DEV,
    vpcId: "vpc-0123456789abcdef0",
    privateSubnetIds: "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    availabilityZones: "us-east-1a,us-east-1b",
  };
  const gateways = (context: object) =>
    Object.values(resources(templates(context as typeof DEV).network, "AWS::EC2::VPCEndpoint"))
      .filter((one) => one["VpcEndpointType"] === "Gateway")
      .map((one) => [flat(one["ServiceName"]), one["RouteTableIds"].length]);
  assert.deepEqual(gateways(DEV), [["com.amazonaws.{Region}.s3", 4]]);
  assert.deepEqual(gateways(vpc), [], "it may have one, and a second one for the same table is refused");
  assert.deepEqual(gateways({ ...vpc, privateRouteTableIds: "rtb-0123456789abcdef0" }), [
    ["com.amazonaws.{Region}.s3", 1],
  ]);
});

test("interface endpoints are created if the settings ask for them", () => {
  const count = (context: object) =>
    Object.values(resources(templates(context as typeof DEV).network, "AWS::EC2::VPCEndpoint")).filter(
      (one) => one["VpcEndpointType"] === "Interface",
    ).length;
  assert.deepEqual([count(DEV), count(PROD), count({ ...DEV, interfaceEndpoints: "true" })], [0, 7, 7]);
});

test("two replicas run behind an internal load balancer that waits for long polls", () => {
  const { provisioner } = templates(DEV);
  assert.ok(provisioner);
  provisioner.hasResourceProperties("AWS::ECS::Service", {
    DesiredCount: 2,
    DeploymentConfiguration: Match.objectLike({
      DeploymentCircuitBreaker: { Enable: true, Rollback: true },
      MinimumHealthyPercent: 100,
      MaximumPercent: 150,
    }),
    NetworkConfiguration: { AwsvpcConfiguration: Match.objectLike({ AssignPublicIp: "DISABLED" }) },
  });
  provisioner.hasResourceProperties("AWS::ElasticLoadBalancingV2::LoadBalancer", {
    Scheme: "internal",
    LoadBalancerAttributes: Match.arrayWith([{ Key: "idle_timeout.timeout_seconds", Value: "75" }]),
  });
  provisioner.hasResourceProperties("AWS::ElasticLoadBalancingV2::TargetGroup", {
    HealthCheckPath: "/readyz",
    Port: 8080,
  });
});

test("with a certificate, the load balancer's own name is not the API's URL", () => {
  const outputs = (context: typeof DEV) => Object.keys(templates(context).provisioner?.findOutputs("*") ?? {});
  assert.ok(outputs(DEV).includes("ApiUrl") && !outputs(DEV).includes("LoadBalancerDnsName"));
  assert.ok(outputs(PROD).includes("LoadBalancerDnsName") && !outputs(PROD).includes("ApiUrl"));
});

test("the provisioner gets its tokens as a secret, and mounts the file system's root", () => {
  const { provisioner } = templates(PROD);
  assert.ok(provisioner);
  const task = only(provisioner, "AWS::ECS::TaskDefinition");
  const container = containerOf(provisioner);
  assert.deepEqual(container["Secrets"], [{ Name: "PROVISIONER_TOKENS", ValueFrom: PROD.tokensSecretArn }]);
  const environment = Object.fromEntries(
    (container["Environment"] as Json[]).map((pair) => [pair["Name"], pair["Value"]]),
  );
  assert.deepEqual(environment, {
    PROVISIONER_SSM_PATH: "/openclaw/prod",
    PROVISIONER_EFS_ROOT: "/mnt/efs",
    PROVISIONER_OWNER: "1000:1000",
    PROVISIONER_REPLICAS: "3",
    PROVISIONER_LISTEN: "0.0.0.0:8080",
    PROVISIONER_GATEWAY_PROBE: "http",
    PROVISIONER_ENABLE_EXECUTE_COMMAND: "false",
  });
  assert.equal(container["ReadonlyRootFilesystem"], true);
  const [volume] = task["Volumes"] as Json[];
  assert.equal(volume?.["EFSVolumeConfiguration"]["TransitEncryption"], "ENABLED");
  assert.match(flat(volume?.["EFSVolumeConfiguration"]["AuthorizationConfig"]["AccessPointId"]), /FileSystemRoot/);
});

test("without a tag the provisioner's service is left out, and the fleet says so", () => {
  const { provisioner, fleet } = app({ env: "dev" });
  assert.equal(provisioner, undefined);
  const warned = fleet.node.metadata
    .filter((entry) => entry.type === "aws:cdk:warning")
    .map((entry) => String(entry.data));
  assert.ok(
    warned.some((text) => text.includes("provisionerTag")) && warned.some((text) => text.includes("runs upstream")),
    warned.join("\n"),
  );
});

test("task states and service events are kept for 90 days, written only by their rules", () => {
  const { observability } = templates(DEV);
  observability.hasResourceProperties("AWS::Logs::LogGroup", {
    LogGroupName: "/aws/events/openclaw-dev-tasks",
    RetentionInDays: 90,
  });
  const rules = Object.values(resources(observability, "AWS::Events::Rule"));
  assert.deepEqual(
    rules.map(({ EventPattern: of }) => [of["source"], of["detail-type"], of["detail"]["eventType"]]),
    [
      [["aws.ecs"], ["ECS Task State Change"], undefined],
      [["aws.ecs"], ["ECS Service Action"], ["WARN", "ERROR"]],
    ],
  );
  assert.ok(rules.every((rule) => /:log-group:/.test(flat(rule["Targets"][0]["Arn"]))));
  const policy = flat(only(observability, "AWS::Logs::ResourcePolicy")["PolicyDocument"]);
  assert.ok(/TaskStates/.test(policy) && /ServiceTroubles/.test(policy), policy);
  observability.resourceCountIs("AWS::Lambda::Function", 0);
});

test("alarms send mail only if an address is given", () => {
  const alarms = (context: typeof DEV) =>
    Object.values(resources(templates(context).observability, "AWS::CloudWatch::Alarm"));
  const names = (context: typeof DEV) =>
    alarms(context)
      .map((alarm) => String(alarm["AlarmName"]).replace(/^openclaw-(dev|prod)-/, ""))
      .sort();
  assert.deepEqual(names(DEV), [
    "AccessDenied",
    "ApiErrors",
    "BurstCreditsLow",
    "FileSystemBusy",
    "FileSystemBytes",
    "FileSystemSize",
    "ImagePullFailed",
    "LoadBalancerErrors",
    "LogBytes",
    "NatBytes",
    "NoHealthyReplica",
    "OutOfMemory",
    "PlacementFailed",
    "ResourcesFailed",
  ]);
  assert.ok(!names(PROD).includes("BurstCreditsLow"), "an elastic file system has no credits");
  assert.ok(alarms(PROD).every((alarm) => alarm["AlarmActions"]?.length === 1));
  assert.ok(alarms(DEV).every((alarm) => alarm["AlarmActions"] === undefined));
});

test("replicas share AWS's limits, also during a deployment", () => {
  const { provisioner } = templates(DEV);
  assert.ok(provisioner);
  const service = only(provisioner, "AWS::ECS::Service");
  const atOnce = (service["DesiredCount"] * service["DeploymentConfiguration"]["MaximumPercent"]) / 100;
  const [container] = only(provisioner, "AWS::ECS::TaskDefinition")["ContainerDefinitions"] as [Json];
  const share = (container["Environment"] as Json[]).find(({ Name: name }) => name === "PROVISIONER_REPLICAS");
  // Room for one more, so that none is stopped before its replacement is healthy.
  assert.deepEqual([service["DesiredCount"], atOnce, share?.["Value"]], [2, 3, "3"]);
});

test("a budget sends mail to the alarms' address, if one is given", () => {
  const budget = (more: object) =>
    Object.values(resources(templates({ ...DEV, ...more }).observability, "AWS::Budgets::Budget"));
  assert.deepEqual(budget({}), []);
  const [made] = budget({ alarmEmail: "ops@example.com", budgetUsd: "500" });
  assert.deepEqual(made?.["Budget"]["BudgetLimit"], { Amount: 500, Unit: "USD" });
  const told = made?.["NotificationsWithSubscribers"] as Json[];
  assert.deepEqual(
    told.map(({ Notification: when, Subscribers: who }) => [
      when["NotificationType"],
      when["Threshold"],
      who[0]["Address"],
    ]),
    [
      ["ACTUAL", 80, "ops@example.com"],
      ["FORECASTED", 100, "ops@example.com"],
    ],
  );
});

test("image tags cannot be overwritten", () => {
  const found = Object.values(resources(templates(DEV).images, "AWS::ECR::Repository"));
  assert.deepEqual(
    found.map((one) => [one["RepositoryName"], one["ImageTagMutability"]]),
    [
      ["openclaw-provisioner", "IMMUTABLE"],
      ["openclaw-extended", "IMMUTABLE"],
    ],
  );
});
