// The provisioner's permissions in AWS: the table of docs/own-infrastructure.md ("IAM of this
// service"), one statement for each row. A test compares the actions with infra/aws-actions.json, which is made from the Rust source.

import type { Stack } from "aws-cdk-lib";
import * as iam from "aws-cdk-lib/aws-iam";
import type { FileSystem } from "./file-system.ts";
import type { Settings } from "./settings.ts";
import type { UserRoles } from "./user-roles.ts";

export interface PolicyProps {
  readonly settings: Settings;
  readonly fileSystem: FileSystem;
  /** The subnets of users' containers. */
  readonly subnetIds: readonly string[];
  readonly roles: UserRoles;
  /** Repository of users' images in ECR of this account; undefined when they come from elsewhere. */
  readonly repository: string | undefined;
}

/**
 * The statements. A condition is set only if the service authorization reference has its key for that action: a key
 * that AWS does not fill in would refuse every call. So CreateService, UpdateService and the two actions of service
 * deployments have no `ecs:cluster`; their resources already name the cluster.
 */
export function provisionerStatements(stack: Stack, props: PolicyProps): iam.PolicyStatement[] {
  const { settings, fileSystem, roles, subnetIds } = props;
  const ecs = (resource: string, resourceName: string) => stack.formatArn({ service: "ecs", resource, resourceName });
  const cluster = ecs("cluster", settings.name);
  const services = ecs("service", `${settings.name}/openclaw-*`);
  const userDefinitions = ecs("task-definition", `${settings.name}-user:*`);
  const accessPoints = stack.formatArn({ service: "elasticfilesystem", resource: "access-point", resourceName: "*" });
  const parameters = (name: string) => stack.formatArn({ service: "ssm", resource: "parameter", resourceName: name });
  const usersOwn = stack.formatArn({
    service: "iam",
    region: "",
    resource: "role",
    resourceName: `${settings.userRolesPath.slice(1)}*`,
  });
  const quota = (resource: string, resourceName: string) =>
    stack.formatArn({ service: "servicequotas", resource, resourceName });
  const inCluster = { ArnEquals: { "ecs:cluster": cluster } };
  // Every service and access point of ours has this tag (src/reconcile/names.rs): other environments are out of reach.
  const ours = { "openclaw:base-family": settings.name };
  const tagged = (key: "RequestTag" | "ResourceTag") =>
    Object.fromEntries(Object.entries(ours).map(([name, value]) => [`aws:${key}/${name}`, value]));

  // With the role nobody can put containers where they are reachable from outside, or open a shell in them. A request without
  // these parameters has no such keys; whether subnets are ids or ARNs, and how a flag is spelled, is not documented.
  const placed = {
    "ForAllValues:StringLike": { "ecs:subnet": subnetIds.map((id) => `*${id}`) },
    BoolIfExists: { "ecs:auto-assign-public-ip": "false" },
    ...(!settings.executeCommand && {
      StringNotEqualsIgnoreCaseIfExists: { "ecs:enable-execute-command": "true" },
    }),
  };

  const allow = (sid: string, actions: string[], resources: string[], conditions?: Record<string, unknown>) =>
    new iam.PolicyStatement({ sid, actions, resources, ...(conditions && { conditions }) });
  return [
    allow("RegisterUserDefinitions", ["ecs:RegisterTaskDefinition"], [userDefinitions], {
      Null: { "aws:RequestTag/openclaw:user-id": "false" },
    }),
    // These three have no resource types.
    allow(
      "TaskDefinitions",
      ["ecs:DescribeTaskDefinition", "ecs:DeregisterTaskDefinition", "ecs:ListTaskDefinitions"],
      ["*"],
    ),
    allow("DeleteUserDefinitions", ["ecs:DeleteTaskDefinitions"], [userDefinitions]),
    allow("MakeServices", ["ecs:CreateService"], [services], {
      StringEquals: tagged("RequestTag"),
      // Only users' definitions run, so only clones of the base. The key is missing when a call names no definition.
      ArnLikeIfExists: { "ecs:task-definition": userDefinitions },
      ...placed,
    }),
    allow("ChangeServices", ["ecs:UpdateService"], [services], {
      StringEquals: tagged("ResourceTag"),
      ArnLikeIfExists: { "ecs:task-definition": userDefinitions },
      ...placed,
    }),
    allow("DeleteServices", ["ecs:DeleteService"], [services], { StringEquals: tagged("ResourceTag"), ...inCluster }),
    allow("DescribeServices", ["ecs:DescribeServices"], [services], inCluster),
    allow("List", ["ecs:ListServices", "ecs:ListTasks"], ["*"], inCluster),
    allow("DescribeTasks", ["ecs:DescribeTasks"], [ecs("task", `${settings.name}/*`)], inCluster),
    allow("DescribeCluster", ["ecs:DescribeClusters"], [cluster]),
    allow("ListServiceDeployments", ["ecs:ListServiceDeployments"], [services]),
    allow(
      "StopServiceDeployments",
      ["ecs:StopServiceDeployment"],
      [services, ecs("service-deployment", `${settings.name}/openclaw-*`)],
    ),
    allow("TagWhatIsMade", ["ecs:TagResource"], [services, userDefinitions], {
      StringEquals: { "ecs:CreateAction": ["CreateService", "RegisterTaskDefinition"] },
    }),
    allow("MakeAccessPoints", ["elasticfilesystem:CreateAccessPoint"], [fileSystem.arn], {
      StringEquals: tagged("RequestTag"),
    }),
    allow("TagAccessPoints", ["elasticfilesystem:TagResource"], [fileSystem.arn, accessPoints], {
      StringEquals: { "elasticfilesystem:CreateAction": "CreateAccessPoint" },
    }),
    allow("DescribeAccessPoints", ["elasticfilesystem:DescribeAccessPoints"], [fileSystem.arn, accessPoints]),
    // The root's access point does not have the tag.
    allow("DeleteAccessPoints", ["elasticfilesystem:DeleteAccessPoint"], [accessPoints], {
      StringEquals: tagged("ResourceTag"),
    }),
    allow(
      "MountTheRoot",
      ["ClientMount", "ClientWrite", "ClientRootAccess"].map((name) => `elasticfilesystem:${name}`),
      [fileSystem.arn],
      {
        ArnEquals: { "elasticfilesystem:AccessPointArn": fileSystem.rootAccessPointArn },
      },
    ),
    allow(
      "ReadCoordinates",
      ["ssm:GetParametersByPath"],
      [parameters(settings.ssmPath.slice(1)), parameters(`${settings.ssmPath.slice(1)}/*`)],
    ),
    allow(
      "LookImagesUp",
      ["ecr:DescribeImages"],
      [stack.formatArn({ service: "ecr", resource: "repository", resourceName: props.repository ?? "openclaw-*" })],
    ),
    // Those of src/domain/quota.rs.
    allow(
      "ReadQuotas",
      ["servicequotas:GetServiceQuota"],
      [quota("fargate", "L-3032A538"), quota("vpc", "L-DF5E4CA3"), quota("ecs", "L-9EF96962")],
    ),
    // Both: a clone names both (incident 9).
    allow(
      "PassBothRoles",
      ["iam:PassRole"],
      [roles.task.roleArn, roles.execution.roleArn, ...(roles.boundary ? [usersOwn] : [])],
      { StringEquals: { "iam:PassedToService": "ecs-tasks.amazonaws.com" } },
    ),
    ...(roles.boundary ? ofUsersOwnRoles(roles.boundary.managedPolicyArn) : []),
  ];

  /** Under the one path, and never without the boundary: nothing made here can do more than a user's container. */
  function ofUsersOwnRoles(boundary: string): iam.PolicyStatement[] {
    const bounded = { StringEquals: { "iam:PermissionsBoundary": boundary } };
    return [
      allow("MakeUsersRoles", ["iam:CreateRole"], [usersOwn], {
        StringEquals: { ...bounded.StringEquals, ...tagged("RequestTag") },
      }),
      allow("TagUsersRoles", ["iam:TagRole"], [usersOwn], { StringEquals: tagged("RequestTag") }),
      allow("WriteUsersRoles", ["iam:PutRolePolicy", "iam:DeleteRolePolicy"], [usersOwn], bounded),
      allow("DeleteUsersRoles", ["iam:DeleteRole"], [usersOwn], { StringEquals: tagged("ResourceTag") }),
      allow("LookAtUsersRoles", ["iam:GetRole"], [usersOwn]),
      // These have no resource types.
      allow("ListRoles", ["iam:ListRoles", "iam:GetAccountSummary"], ["*"]),
    ];
  }
}
