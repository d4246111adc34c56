// The base task definition, which the provisioner clones for every user and never writes. `openclaw-provisioner doctor`
// checks what a base must have (src/domain/task_definition/judgement.rs).

import { CfnDeletionPolicy, Stack } from "aws-cdk-lib";
import * as ecs from "aws-cdk-lib/aws-ecs";
import type * as logs from "aws-cdk-lib/aws-logs";
import { Construct } from "constructs";
import { GATEWAY_PORT } from "./security-groups.ts";
import type { Settings } from "./settings.ts";
import type { UserRoles } from "./user-roles.ts";
import { releaseOf } from "./version-file.ts";

/** Owner of users' files, the image's user `node`; `PROVISIONER_OWNER` has to agree. */
export const OWNER = "1000:1000";
/** Where a user's directory is in their container. */
export const MOUNT_PATH = "/home/node/.openclaw";

export interface BaseTaskProps {
  readonly settings: Settings;
  readonly image: string;
  readonly fileSystemId: string;
  readonly roles: UserRoles;
  readonly logGroup: logs.ILogGroup;
}

export class BaseTask extends Construct {
  constructor(scope: Construct, id: string, props: BaseTaskProps) {
    super(scope, id);
    const { settings, roles } = props;
    const base = new ecs.CfnTaskDefinition(this, "Base", {
      // Only the base is in this family: users' revisions go to `<family>-user` (incident 1).
      family: settings.name,
      requiresCompatibilities: ["FARGATE"],
      networkMode: "awsvpc",
      cpu: String(settings.size.cpu),
      memory: String(settings.size.memoryMib),
      runtimePlatform: {
        cpuArchitecture: settings.architecture === "arm64" ? "ARM64" : "X86_64",
        operatingSystemFamily: "LINUX",
      },
      executionRoleArn: roles.execution.roleArn,
      taskRoleArn: roles.task.roleArn,
      volumes: [
        {
          name: "openclaw",
          // Without an access point: each user's definition gets that user's own.
          efsVolumeConfiguration: {
            filesystemId: props.fileSystemId,
            transitEncryption: "ENABLED",
            authorizationConfig: { iam: "ENABLED" },
          },
        },
      ],
      containerDefinitions: [
        {
          name: "openclaw",
          image: props.image,
          essential: true,
          // The agent's user. The provisioner's clones start as root, and drop to this user before anything of the tenant runs.
          user: OWNER,
          dockerLabels: { "openclaw.provisioner.isolation": settings.bedrock ? "with-role" : "without-role" },
          // As in upstream's image; set here, because the entry script of releases with a store has to know what to run after it.
          command: ["node", "openclaw.mjs", "gateway", "--allow-unconfigured"],
          environment: [{ name: "NODE_ENV", value: "production" }],
          portMappings: [{ containerPort: GATEWAY_PORT, protocol: "tcp" }],
          mountPoints: [{ sourceVolume: "openclaw", containerPath: MOUNT_PATH, readOnly: false }],
          healthCheck: {
            command: ["CMD", "node", "-e", healthProbe(props.image)],
            interval: 30,
            timeout: 10,
            retries: 3,
            startPeriod: 180,
          },
          readonlyRootFilesystem: settings.readonlyRoot,
          linuxParameters: {
            initProcessEnabled: true,
            // Clones keep the capabilities that the drop needs, and name the others; see src/domain/task_definition/isolation.rs.
            capabilities: { drop: ["ALL"] },
            ...(settings.readonlyRoot && { tmpfs: WRITABLE }),
          },
          // SIGTERM ends the gateway in under a second; the entry script finishes an import first.
          stopTimeout: 60,
          logConfiguration: {
            logDriver: "awslogs",
            options: {
              "awslogs-group": props.logGroup.logGroupName,
              "awslogs-region": Stack.of(this).region,
              "awslogs-stream-prefix": "openclaw",
              // A gateway must not block when its log does.
              mode: "non-blocking",
            },
          },
        },
      ],
      tags: [{ key: "openclaw:role", value: "base" }],
    });
    // The former revision stays ACTIVE when it is replaced: it may be the promoted one, which new users get until a rollout is done
    // (docs/rollouts.md).
    base.cfnOptions.updateReplacePolicy = CfnDeletionPolicy.RETAIN;
    base.cfnOptions.deletionPolicy = CfnDeletionPolicy.DELETE;
  }
}

/**
 * Writable places in addition to the user's directory; in the task's memory and lost with it, sizes in MiB. A volume would
 * belong to root, and the container is not root. 2026.9.6 was run with a read-only root and these: with only /tmp its doctor finds
 * no place for temporary files. Not the whole home: the user's directory is mounted in it, and if the memory were mounted
 * after that, it would hide all the user's files. `exec`, because Docker mounts memory noexec by default, and agents run
 * programs that they build or download there.
 */
const WRITABLE = [
  { containerPath: "/tmp", size: 256, mountOptions: ["exec", "nosuid", "nodev", "mode=1777"] },
  ...[".cache", ".config", ".local", ".npm"].map((name) => ({
    containerPath: `/home/node/${name}`,
    size: 96,
    mountOptions: ["exec", "nosuid", "nodev", "mode=700", "uid=1000", "gid=1000"],
  })),
];

/** A program for `node -e` that exits with 0 when the gateway answers. */
function healthProbe(image: string): string {
  const [year, month] = releaseOf(image) ?? [9999, 0];
  // Before 2026.5 its health path answers 500 or never, so check only whether the port accepts.
  if (year < 2026 || (year === 2026 && month < 5)) {
    return `require("net").connect(${GATEWAY_PORT},"127.0.0.1",()=>process.exit(0)).on("error",()=>process.exit(1))`;
  }
  return `fetch("http://127.0.0.1:${GATEWAY_PORT}/healthz").then(r=>process.exit(r.ok?0:1),()=>process.exit(1))`;
}
