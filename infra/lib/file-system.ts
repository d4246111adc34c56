// The file system of all users' directories, and who may mount which part of it.

import { Stack } from "aws-cdk-lib";
import type * as ec2 from "aws-cdk-lib/aws-ec2";
import * as efs from "aws-cdk-lib/aws-efs";
import * as iam from "aws-cdk-lib/aws-iam";
import { Construct } from "constructs";
import { removalPolicy } from "./removal.ts";
import type { Settings } from "./settings.ts";

/** All permissions that a client of the file system can have. */
export const CLIENT_ACTIONS = ["ClientMount", "ClientWrite", "ClientRootAccess"].map(
  (name) => `elasticfilesystem:${name}`,
);

export interface FileSystemProps {
  readonly settings: Settings;
  readonly subnets: readonly ec2.ISubnet[];
  readonly securityGroup: ec2.ISecurityGroup;
  /** The role that all users' containers share. */
  readonly userTaskRole: iam.IRole;
}

export class FileSystem extends Construct {
  readonly fileSystemId: string;
  readonly arn: string;
  /** Access point on the root of the file system, for the provisioner alone. */
  readonly rootAccessPointId: string;
  readonly rootAccessPointArn: string;

  constructor(scope: Construct, id: string, props: FileSystemProps) {
    super(scope, id);
    const { settings } = props;
    const arn = (resource: string, resourceName: string) =>
      Stack.of(this).formatArn({ service: "elasticfilesystem", resource, resourceName });
    const fileSystem = new efs.CfnFileSystem(this, "Users", {
      encrypted: true,
      performanceMode: "generalPurpose",
      throughputMode: settings.throughputMode,
      backupPolicy: { status: settings.strict ? "ENABLED" : "DISABLED" },
      fileSystemPolicy: policy(props.userTaskRole),
      fileSystemTags: [{ key: "Name", value: settings.name }],
    });
    // Without it all users are signed out and lose their work.
    fileSystem.applyRemovalPolicy(removalPolicy(settings));
    this.fileSystemId = fileSystem.ref;
    this.arn = arn("file-system", fileSystem.ref);
    props.subnets.forEach((subnet, index) => {
      new efs.CfnMountTarget(this, `MountTarget${index}`, {
        fileSystemId: fileSystem.ref,
        subnetId: subnet.subnetId,
        securityGroups: [props.securityGroup.securityGroupId],
      });
    });
    // Without a POSIX user, so that uid 0 stays uid 0: the provisioner sets the owners of files.
    const root = new efs.CfnAccessPoint(this, "Root", {
      fileSystemId: fileSystem.ref,
      rootDirectory: { path: "/" },
      accessPointTags: [{ key: "Name", value: `${settings.name}-root` }],
    });
    this.rootAccessPointId = root.ref;
    this.rootAccessPointArn = arn("access-point", root.ref);
  }
}

/**
 * The file-system policy. It only denies; the roles have the permissions.
 *
 * Nobody mounts without an access point, not even the provisioner: it has its own one on the root. An exception for
 * its role would need `aws:PrincipalArn`, and for NFS clients EFS enforces no condition keys but `aws:SecureTransport`,
 * `aws:SourceIp`, `elasticfilesystem:AccessPointArn` and `…:AccessedViaMountTarget` (EFS user guide, "Using IAM to control
 * access to file systems"). A missing key makes a negated condition true, and would lock the provisioner out.
 */
function policy(userTaskRole: iam.IRole): iam.PolicyDocument {
  const deny = (sid: string, principal: iam.IPrincipal, actions: string[], conditions?: Record<string, unknown>) =>
    new iam.PolicyStatement({
      sid,
      effect: iam.Effect.DENY,
      principals: [principal],
      actions,
      resources: ["*"],
      ...(conditions && { conditions }),
    });
  const everybody = new iam.AnyPrincipal();
  return new iam.PolicyDocument({
    statements: [
      deny("WithoutTls", everybody, CLIENT_ACTIONS, { Bool: { "aws:SecureTransport": "false" } }),
      deny("WithoutAccessPoint", everybody, CLIENT_ACTIONS, { Null: { "elasticfilesystem:AccessPointArn": "true" } }),
      deny("UsersAsRoot", new iam.ArnPrincipal(userTaskRole.roleArn), ["elasticfilesystem:ClientRootAccess"]),
    ],
  });
}
