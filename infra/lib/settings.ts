// Every setting of the deployment: read from CDK context (`-c env=dev`), checked only here.

/** The checked settings of a deployment. */
export interface Settings {
  /** Name of the environment, as in openclaw-version.json. */
  readonly env: string;
  /** Whether relaxed settings for a try-out (`dev`) are refused. Every environment except `dev` is strict. */
  readonly strict: boolean;
  /** `openclaw-<env>`: name of the cluster and of the base family. */
  readonly name: string;
  /** SSM path of the coordinates, `/openclaw/<env>`. */
  readonly ssmPath: string;
  /** An existing VPC; without it a new one is created. */
  readonly existingVpc?: ExistingVpc;
  /** Addresses of a new VPC, a /16 to /18. */
  readonly vpcCidr: string;
  /** NAT gateways of a new VPC, 1 to 2: about 32 USD a month each, and the traffic. */
  readonly natGateways: number;
  /** Whether a new VPC gets interface endpoints: about 7 USD a month each in each of two zones. */
  readonly interfaceEndpoints: boolean;
  /** Default size of a user's container, in CPU units and MiB. */
  readonly size: { readonly cpu: number; readonly memoryMib: number };
  /** CPU architecture of users' containers and the service; both images must exist for it. */
  readonly architecture: "x86_64" | "arm64";
  /** Whether users' containers cannot write to their image. */
  readonly readonlyRoot: boolean;
  /** How EFS is billed for throughput. */
  readonly throughputMode: "bursting" | "elastic";
  /** Whether operators may open a shell in users' containers. */
  readonly executeCommand: boolean;
  /** Whether users' containers may call models on Bedrock with the role that they share. */
  readonly bedrock: boolean;
  /** Whether each user gets a role of their own; `leaving`: no more, and those that are there go with their users. */
  readonly userRoles: "off" | "on" | "leaving";
  /** Path of users' own roles, `/openclaw/<env>/users/`. */
  readonly userRolesPath: string;
  /** Groups that reach the API and users' gateways, beside the one that is made for the web application. */
  readonly webAppSecurityGroupIds: readonly string[];
  /** Mail address for alarms. */
  readonly alarmEmail?: string;
  /** Monthly cost of the account in USD above which the alarms' address gets a mail; without it there is no budget. */
  readonly budgetUsd?: number;
  /** The provisioner's own service; without it only its surroundings are deployed. */
  readonly provisioner?: ProvisionerSettings;
}

/** A network that is deployed elsewhere. */
export interface ExistingVpc {
  readonly vpcId: string;
  readonly availabilityZones: readonly string[];
  readonly privateSubnetIds: readonly string[];
  /** Route tables of these subnets that get the gateway endpoint of S3; empty if the VPC has one, or shall have none. */
  readonly privateRouteTableIds: readonly string[];
}

/** The settings of the provisioner's service. */
export interface ProvisionerSettings {
  /** Tag of its image in the repository `openclaw-provisioner`. */
  readonly tag: string;
  /** Secret with its bearer tokens, one a line. */
  readonly tokensSecretArn: string;
  /** Certificate of its load balancer; without one it speaks plain HTTP. */
  readonly certificateArn?: string;
}

/** The error of missing or wrong settings; it names all of them. */
export class InvalidSettings extends Error {
  constructor(problems: readonly string[]) {
    super(`settings (cdk -c key=value):\n${problems.map((problem) => `  ${problem}`).join("\n")}`);
    this.name = "InvalidSettings";
  }
}

/** Our keys; any other without a colon, slash or dash is treated as a typing error. */
export const KEYS = [
  "env",
  "vpcCidr",
  "vpcId",
  "availabilityZones",
  "privateSubnetIds",
  "privateRouteTableIds",
  "natGateways",
  "interfaceEndpoints",
  "cpu",
  "memoryMib",
  "architecture",
  "readonlyRoot",
  "throughputMode",
  "executeCommand",
  "bedrock",
  "userRoles",
  "webAppSecurityGroupIds",
  "alarmEmail",
  "budgetUsd",
  "provisionerTag",
  "tokensSecretArn",
  "certificateArn",
] as const;

type Key = (typeof KEYS)[number];

const SECURITY_GROUP = /^sg-[0-9a-f]{8,17}$/;
const SUBNET = /^subnet-[0-9a-f]{8,17}$/;
const ROUTE_TABLE = /^rtb-[0-9a-f]{8,17}$/;
const VPC = /^vpc-[0-9a-f]{8,17}$/;
const ZONE = /^[a-z]{2}(-[a-z]+)+-\d[a-z]$/;
const ENVIRONMENT = /^[a-z][a-z0-9-]{0,15}$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
// Complete, with the six characters that Secrets Manager adds: ECS asks for the whole ARN.
const SECRET = /^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:(.+)-[A-Za-z0-9]{6}$/;
const CERTIFICATE = /^arn:aws[a-z-]*:acm:[a-z0-9-]+:\d{12}:certificate\/[0-9a-f-]+$/;
const EMAIL = /^[^@\s]+@[^@\s]+$/;

/** Fargate's sizes up to 4 vCPU (task-definition parameters): CPU units to MiB, from, to, step. */
const MEMORY: Readonly<Record<number, readonly [number, number, number]>> = {
  256: [512, 2048, 512],
  512: [1024, 4096, 1024],
  1024: [2048, 8192, 1024],
  2048: [4096, 16384, 1024],
  4096: [8192, 30720, 1024],
};

/**
 * Reads the settings from CDK context.
 *
 * @throws InvalidSettings naming every key that is missing or wrong, and what to write.
 */
export function parseSettings(context: Readonly<Record<string, unknown>>): Settings {
  const problems: string[] = [];
  const wrong = (key: Key, problem: string, fix: string) => void problems.push(`${key}: ${problem}; ${fix}`);

  for (const key of Object.keys(context)) {
    if (!/[:/-]/.test(key) && !(KEYS as readonly string[]).includes(key)) {
      problems.push(`${key}: is no setting; write one of ${KEYS.join(", ")}`);
    }
  }
  const text = (key: Key): string | undefined => {
    const value = context[key];
    return value === undefined || value === null || String(value).trim() === "" ? undefined : String(value).trim();
  };
  const matching = (key: Key, pattern: RegExp, example: string): string | undefined => {
    const value = text(key);
    if (value === undefined || pattern.test(value)) return value;
    wrong(key, `${JSON.stringify(value)} is not valid`, `write it like ${example}`);
    return undefined;
  };
  const list = (key: Key, pattern: RegExp, example: string): string[] => {
    const items = (text(key) ?? "")
      .split(",")
      .map((item) => item.trim())
      .filter((item) => item !== "");
    const bad = items.find((item) => !pattern.test(item));
    if (bad !== undefined) wrong(key, `${JSON.stringify(bad)} is not valid`, `write ids like ${example}, with commas`);
    return items;
  };
  const flag = (key: Key, otherwise: boolean): boolean => {
    const value = text(key);
    if (value === undefined || value === "true" || value === "false")
      return value === undefined ? otherwise : value === "true";
    wrong(key, `${JSON.stringify(value)} is neither`, "write true or false");
    return otherwise;
  };
  const number = (key: Key, otherwise: number): number => {
    const value = text(key);
    if (value === undefined || /^\d{1,6}$/.test(value)) return value === undefined ? otherwise : Number(value);
    wrong(key, `${JSON.stringify(value)} is no number`, `write it like ${otherwise}`);
    return otherwise;
  };

  const env = matching("env", ENVIRONMENT, "dev or prod") ?? "";
  if (text("env") === undefined)
    wrong("env", "is not set", "write -c env=dev, or another environment of openclaw-version.json");
  const strict = env !== "dev";

  const vpcId = matching("vpcId", VPC, "vpc-0123456789abcdef0");
  const privateSubnetIds = list("privateSubnetIds", SUBNET, "subnet-0123456789abcdef0");
  const availabilityZones = list("availabilityZones", ZONE, "eu-central-1a");
  const privateRouteTableIds = list("privateRouteTableIds", ROUTE_TABLE, "rtb-0123456789abcdef0");
  const vpcCidr = text("vpcCidr") ?? "10.64.0.0/16";
  const badRange = rangeProblem(vpcCidr);
  if (badRange !== undefined) wrong("vpcCidr", `${JSON.stringify(vpcCidr)} ${badRange}`, "write it like 10.65.0.0/16");
  if (text("vpcId") === undefined) {
    for (const [key, given] of [
      ["privateSubnetIds", privateSubnetIds],
      ["availabilityZones", availabilityZones],
      ["privateRouteTableIds", privateRouteTableIds],
    ] as const) {
      if (given.length > 0) wrong(key, "belongs to an existing VPC", "set vpcId as well, or leave it out");
    }
  } else {
    for (const key of ["vpcCidr", "natGateways", "interfaceEndpoints"] as const) {
      if (text(key) !== undefined) wrong(key, "belongs to a VPC that is made here", "leave it out with vpcId");
    }
    if (privateSubnetIds.length === 0 || privateSubnetIds.length > 16) {
      wrong(
        "privateSubnetIds",
        `${privateSubnetIds.length} of them`,
        "give 1 to 16 subnets of that VPC with a way out",
      );
    }
    if (availabilityZones.length !== privateSubnetIds.length) {
      wrong(
        "availabilityZones",
        `${availabilityZones.length} of them`,
        "give one for each of privateSubnetIds, in their order",
      );
    }
    // "At least two subnets in two different Availability Zones must be specified" (ELB API reference, CreateLoadBalancer).
    if (privateSubnetIds.length === 1 && text("provisionerTag") !== undefined) {
      wrong("privateSubnetIds", "1 of them", "give 2 at least: the provisioner's load balancer wants two zones");
    }
    // EFS allows one mount target for each zone; a second subnet there would have none, and needs none.
    if (new Set(availabilityZones).size !== availabilityZones.length) {
      wrong("availabilityZones", "a zone is there twice", "give one subnet of each zone");
    }
  }
  const natGateways = number("natGateways", strict ? 2 : 1);
  if (natGateways < 1 || natGateways > 2) {
    wrong("natGateways", `${natGateways} is out of range`, "write 1 or 2: without one, no container reaches ChatGPT");
  }

  const size = { cpu: number("cpu", 512), memoryMib: number("memoryMib", 2048) };
  const [from, to, step] = MEMORY[size.cpu] ?? [0, 0, 1];
  if (to === 0) {
    wrong("cpu", `${size.cpu} is no Fargate size`, `write one of ${Object.keys(MEMORY).join(", ")}`);
  } else if (size.memoryMib < from || size.memoryMib > to || size.memoryMib % step !== 0) {
    wrong(
      "memoryMib",
      `${size.memoryMib} does not go with cpu ${size.cpu}`,
      `write ${from} to ${to} in steps of ${step}`,
    );
  }

  const architecture = text("architecture") ?? "x86_64";
  if (architecture !== "x86_64" && architecture !== "arm64") {
    wrong("architecture", `${JSON.stringify(architecture)} is not valid`, "write x86_64 or arm64");
  }

  const throughput = text("throughputMode") ?? (strict ? "elastic" : "bursting");
  if (throughput !== "bursting" && throughput !== "elastic") {
    wrong("throughputMode", `${JSON.stringify(throughput)} is not valid`, "write bursting or elastic");
  }

  const alarmEmail = matching("alarmEmail", EMAIL, "ops@example.com");
  const budgetUsd = text("budgetUsd") === undefined ? undefined : number("budgetUsd", 0);
  if (budgetUsd !== undefined && budgetUsd <= 0) {
    wrong("budgetUsd", `${budgetUsd} is out of range`, "write what the account may cost a month, such as 500");
  }
  if (budgetUsd !== undefined && text("alarmEmail") === undefined) {
    wrong("budgetUsd", "has nobody to be told", "set alarmEmail as well");
  }
  const webAppSecurityGroupIds = list("webAppSecurityGroupIds", SECURITY_GROUP, "sg-0123456789abcdef0");
  // Not a range of addresses: users' containers have addresses of the same VPC.
  if (webAppSecurityGroupIds.length > 5) {
    wrong("webAppSecurityGroupIds", `${webAppSecurityGroupIds.length} of them`, "give 5 at most");
  }
  const interfaceEndpoints = flag("interfaceEndpoints", strict);
  const readonlyRoot = flag("readonlyRoot", true);
  const executeCommand = flag("executeCommand", false);
  if (executeCommand && readonlyRoot) {
    // The agent of ECS Exec writes to the image's file system (ECS developer guide, "Considerations for using ECS Exec").
    wrong(
      "executeCommand",
      "does not go with a root that is read-only",
      "set readonlyRoot=false as well, or leave it out",
    );
  }
  const bedrock = flag("bedrock", false);
  const USER_ROLES = { true: "on", false: "off", leaving: "leaving" } as const;
  const rolesAsked = text("userRoles") ?? "false";
  const userRoles = Object.entries(USER_ROLES).find(([word]) => word === rolesAsked)?.[1];
  if (userRoles === undefined) {
    wrong("userRoles", `${JSON.stringify(rolesAsked)} is not valid`, "write true, false or leaving");
  }

  const tag = matching("provisionerTag", TAG, "0.1.0");
  const tokensSecretArn = matching(
    "tokensSecretArn",
    SECRET,
    `arn:aws:secretsmanager:REGION:ACCOUNT:secret:openclaw/${env}/tokens-AbCdEf`,
  );
  const certificateArn = matching("certificateArn", CERTIFICATE, "arn:aws:acm:REGION:ACCOUNT:certificate/ID");
  const secretName = tokensSecretArn === undefined ? undefined : SECRET.exec(tokensSecretArn)?.[1];
  if (secretName?.startsWith(`openclaw/${env}/users/`)) {
    wrong("tokensSecretArn", "lies where users' containers may read secrets", `name it openclaw/${env}/tokens`);
  }
  if (text("provisionerTag") === undefined) {
    for (const key of ["tokensSecretArn", "certificateArn"] as const) {
      if (text(key) !== undefined)
        wrong(key, "goes with the provisioner's service", "set provisionerTag as well, or leave it out");
    }
  } else {
    if (text("tokensSecretArn") === undefined) {
      wrong("tokensSecretArn", "is not set", "create the secret (infra/README.md) and give its complete ARN");
    }
    if (strict && text("certificateArn") === undefined) {
      wrong(
        "certificateArn",
        `is not set, and ${env} takes no tokens over plain HTTP`,
        "give the ARN of an ACM certificate",
      );
    }
    if (strict && tag === "latest") wrong("provisionerTag", "latest can be pushed over", "give the tag of one build");
  }

  if (problems.length > 0) throw new InvalidSettings(problems);
  return {
    env,
    strict,
    name: `openclaw-${env}`,
    ssmPath: `/openclaw/${env}`,
    vpcCidr,
    natGateways,
    interfaceEndpoints,
    size,
    architecture: architecture === "arm64" ? "arm64" : "x86_64",
    readonlyRoot,
    throughputMode: throughput === "elastic" ? "elastic" : "bursting",
    executeCommand,
    bedrock,
    userRoles: userRoles ?? "off",
    userRolesPath: `/openclaw/${env}/users/`,
    webAppSecurityGroupIds,
    ...(vpcId !== undefined && { existingVpc: { vpcId, privateSubnetIds, availabilityZones, privateRouteTableIds } }),
    ...(alarmEmail !== undefined && { alarmEmail }),
    ...(budgetUsd !== undefined && { budgetUsd }),
    ...(tag !== undefined &&
      tokensSecretArn !== undefined && {
        provisioner: { tag, tokensSecretArn, ...(certificateArn !== undefined && { certificateArn }) },
      }),
  };
}

/** The problem with the range of a VPC; undefined if it is valid. */
function rangeProblem(cidr: string): string | undefined {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(cidr)?.slice(1).map(Number);
  if (parts === undefined || parts.slice(0, 4).some((part) => part > 255)) return "is no range of IPv4 addresses";
  const [first = 0, second = 0, third = 0, fourth = 0, length = 0] = parts;
  // Two private subnets of a /20 and two public ones of a /24; "between a /28 and /16" (VPC user guide, "VPC CIDR blocks").
  if (length < 16 || length > 18) return "is too small or too large for the subnets";
  if (fourth !== 0 || third % 2 ** (24 - length) !== 0) return "does not begin where a range of its size begins";
  // RFC 1918 and RFC 6598. Public addresses of others would be unreachable from within.
  const isPrivate =
    first === 10 ||
    (first === 172 && second >= 16 && second < 32) ||
    (first === 192 && second === 168) ||
    (first === 100 && second >= 64 && second < 128);
  return isPrivate ? undefined : "is not private";
}
