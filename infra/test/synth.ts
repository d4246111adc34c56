// Templates for tests, synthesized in this process.

import assert from "node:assert/strict";
import { App } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import { deployment, type Deployment } from "../lib/deployment.ts";
import { parseSettings } from "../lib/settings.ts";
import { imageFor } from "../lib/version-file.ts";

export const TOKENS = "arn:aws:secretsmanager:us-east-1:123456789012:secret:openclaw/dev/tokens-AbCdEf";
export const WEB_APP = "sg-0123456789abcdef0";
export const DEV = { env: "dev", provisionerTag: "0.1.0", tokensSecretArn: TOKENS, webAppSecurityGroupIds: WEB_APP };
export const PROD = {
  ...DEV,
  env: "prod",
  tokensSecretArn: TOKENS.replace("/dev/", "/prod/"),
  alarmEmail: "ops@example.com",
  certificateArn: "arn:aws:acm:us-east-1:123456789012:certificate/01234567-89ab-cdef-0123-456789abcdef",
};
/** Roles of users' own. */
export const ROLES = { ...DEV, userRoles: "true" };
export const VERSIONS = {
  upstream: "ghcr.io/openclaw/openclaw:2026.9.6",
  extendedImage: "openclaw-extended",
  environments: { dev: { tag: null }, prod: { tag: "2026.9.6-71624b4" } },
};

export function app(context: Readonly<Record<string, unknown>>, into = new App()): Deployment {
  const settings = parseSettings(context);
  return deployment(into, settings, imageFor(VERSIONS, settings.env, settings.strict));
}

const made = new Map<string, ReturnType<typeof synthesized>>();

/** The parts of a deployment as templates, each synthesized once. */
export function templates(context: Readonly<Record<string, unknown>>) {
  const key = JSON.stringify(context);
  const found = made.get(key) ?? synthesized(context);
  made.set(key, found);
  return found;
}

function synthesized(context: Readonly<Record<string, unknown>>) {
  const { images, network, fleet, provisioner, observability } = app(context);
  return {
    images: Template.fromStack(images),
    network: Template.fromStack(network),
    fleet: Template.fromStack(fleet),
    observability: Template.fromStack(observability),
    provisioner: provisioner && Template.fromStack(provisioner),
  };
}

export type Json = Record<string, any>;

/** Properties of the resources of a type, by logical id. */
export function resources(template: Template, type: string): Record<string, Json> {
  return Object.fromEntries(
    Object.entries(template.findResources(type)).map(([id, found]) => [id, found["Properties"] ?? {}]),
  );
}

/** The permissions of the one role whose logical id has this prefix, from the whole template. */
export function statementsOf(template: Template, role: string): Json[] {
  const [[id, properties] = ["", {} as Json], ...others] = Object.entries(resources(template, "AWS::IAM::Role")).filter(
    ([id]) => id.startsWith(role),
  );
  assert.ok(id !== "" && others.length === 0, role);
  assert.equal(properties["ManagedPolicyArns"] ?? properties["Policies"], undefined, "more than is looked at here");
  return Object.values(resources(template, "AWS::IAM::Policy"))
    .filter((policy) => policy["Roles"].some((one: unknown) => flat(one) === `{${id}}`))
    .flatMap((policy) => policy["PolicyDocument"]["Statement"] as Json[]);
}

/** The one resource of a type. */
export function only(template: Template, type: string): Json {
  const found = Object.values(resources(template, type));
  if (found.length !== 1 || found[0] === undefined) throw new Error(`${found.length} resources of type ${type}`);
  return found[0];
}

/** An intrinsic function as readable text: `Ref` and `GetAtt` by logical id, imports by their name, in braces. */
export function flat(value: unknown): string {
  if (typeof value === "string") return value;
  const [[name, inner] = ["", undefined]] = Object.entries((value ?? {}) as Json);
  if (name === "Fn::Join") return (inner[1] as unknown[]).map(flat).join(inner[0]);
  if (name === "Ref") return inner.startsWith("AWS::") ? `{${inner.slice(5)}}` : `{${inner}}`;
  if (name === "Fn::GetAtt") return `{${inner.join(".")}}`;
  if (name === "Fn::ImportValue")
    return `{${inner.replace(/^OpenClaw(Dev|Prod)(Network|Fleet|Provisioner):ExportsOutput/, "")}}`;
  return JSON.stringify(value);
}

export const asList = <T>(value: T | T[]): T[] => (Array.isArray(value) ? value : [value]);

/** The container of the one task definition of a template. */
export function containerOf(template: Template): Json {
  const [container, ...others] = only(template, "AWS::ECS::TaskDefinition")["ContainerDefinitions"] as Json[];
  if (container === undefined || others.length > 0) throw new Error("not one container");
  return container;
}
