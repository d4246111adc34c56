// The two roles of users' containers. Every user's definition is a clone of the base and has both, so neither can tell
// one user from another; SECURITY.md says what follows. With `userRoles` the task role is in each user's case one that the
// provisioner makes, below a boundary that is made here.

import { ArnFormat, Stack } from "aws-cdk-lib";
import * as iam from "aws-cdk-lib/aws-iam";
import type * as logs from "aws-cdk-lib/aws-logs";
import { Construct } from "constructs";
import type { FileSystem } from "./file-system.ts";
import type { Settings } from "./settings.ts";

export interface UserRolesProps {
  readonly settings: Settings;
}

export class UserRoles extends Construct {
  /** The permissions of a user's container in AWS; also used to mount the file system. */
  readonly task: iam.Role;
  /** The permissions with which ECS starts the container: images, logs, secrets. The container cannot use it. */
  readonly execution: iam.Role;
  /** The most that a role of a user's own can do; undefined where there are none. */
  boundary: iam.ManagedPolicy | undefined;
  private readonly settings: Settings;

  constructor(scope: Construct, id: string, props: UserRolesProps) {
    super(scope, id);
    this.settings = props.settings;
    const { account, region, partition } = Stack.of(this);
    // Only tasks of this account, against the confused-deputy problem (ECS developer guide, "Task IAM role").
    const assumedBy = new iam.ServicePrincipal("ecs-tasks.amazonaws.com", {
      conditions: {
        StringEquals: { "aws:SourceAccount": account },
        ArnLike: { "aws:SourceArn": `arn:${partition}:ecs:${region}:${account}:*` },
      },
    });
    const { name } = props.settings;
    this.task = new iam.Role(this, "Task", { assumedBy, description: `${name}: OpenClaw containers of users` });
    this.execution = new iam.Role(this, "Execution", { assumedBy, description: `${name}: starts containers of users` });
  }

  /** Lets users' containers mount through access points, and never the one on the root. */
  mount(fileSystem: FileSystem) {
    const statements = this.statements(fileSystem);
    for (const statement of statements) this.task.addToPolicy(statement);
    if (this.settings.userRoles === "off") return;
    // The same statements: what no user's container may do, none of their roles may be allowed.
    this.boundary = new iam.ManagedPolicy(this, "Boundary", {
      description: `${this.settings.name}: the most that a role of a user's own can do`,
      statements: this.statements(fileSystem),
    });
  }

  /** What users' containers may do, whichever role they have. */
  private statements(fileSystem: FileSystem): iam.PolicyStatement[] {
    const accessPoints = Stack.of(this).formatArn({
      service: "elasticfilesystem",
      resource: "access-point",
      resourceName: "*",
    });
    const statements = [
      new iam.PolicyStatement({
        sid: "MountThroughAccessPoint",
        actions: ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
        resources: [fileSystem.arn],
        conditions: { ArnLike: { "elasticfilesystem:AccessPointArn": accessPoints } },
      }),
      new iam.PolicyStatement({
        sid: "NeverTheRoot",
        effect: iam.Effect.DENY,
        actions: [
          "elasticfilesystem:ClientMount",
          "elasticfilesystem:ClientWrite",
          "elasticfilesystem:ClientRootAccess",
        ],
        resources: [fileSystem.arn],
        conditions: { ArnEquals: { "elasticfilesystem:AccessPointArn": fileSystem.rootAccessPointArn } },
      }),
    ];
    if (this.settings.executeCommand) {
      statements.push(
        new iam.PolicyStatement({
          sid: "EcsExec",
          actions: ["CreateControlChannel", "CreateDataChannel", "OpenControlChannel", "OpenDataChannel"].map(
            (name) => `ssmmessages:${name}`,
          ),
          // These have no resource types (service authorization reference).
          resources: ["*"],
        }),
      );
    }
    if (this.settings.bedrock) {
      const { partition } = Stack.of(this);
      statements.push(
        new iam.PolicyStatement({
          sid: "CallModels",
          actions: ["bedrock:InvokeModel", "bedrock:InvokeModelWithResponseStream"],
          resources: [
            `arn:${partition}:bedrock:*::foundation-model/*`,
            `arn:${partition}:bedrock:*:*:inference-profile/*`,
          ],
        }),
        new iam.PolicyStatement({
          sid: "ListModels",
          actions: ["bedrock:ListFoundationModels", "bedrock:ListInferenceProfiles"],
          resources: ["*"],
        }),
      );
    }
    return statements;
  }

  /** Lets ECS start users' containers: pull from `repository` of this account, log, and fetch users' own keys. */
  start(logGroup: logs.ILogGroup, repository: string | undefined) {
    const stack = Stack.of(this);
    logGroup.grantWrite(this.execution);
    this.execution.addToPolicy(
      new iam.PolicyStatement({
        sid: "UsersSecrets",
        actions: ["secretsmanager:GetSecretValue"],
        // Callers of the API name the secret: no secret with another name may reach a container.
        resources: [
          stack.formatArn({
            service: "secretsmanager",
            resource: "secret",
            resourceName: `${userSecrets(this.settings)}*`,
            arnFormat: ArnFormat.COLON_RESOURCE_NAME,
          }),
        ],
      }),
    );
    if (repository === undefined) return;
    this.execution.addToPolicy(
      new iam.PolicyStatement({
        sid: "Pull",
        actions: ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        resources: [stack.formatArn({ service: "ecr", resource: "repository", resourceName: repository })],
      }),
    );
    this.execution.addToPolicy(
      new iam.PolicyStatement({ sid: "Registry", actions: ["ecr:GetAuthorizationToken"], resources: ["*"] }),
    );
  }
}

/** Prefix of the names of secrets that users' containers may get. */
export const userSecrets = (settings: Settings) => `openclaw/${settings.env}/users/`;
