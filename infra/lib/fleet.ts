// The resources for users' containers: cluster, file system, roles, log group, base task definition, and the parameters
// from which the provisioner reads their names.

import { Stack, type StackProps } from "aws-cdk-lib";
import * as ecs from "aws-cdk-lib/aws-ecs";
import * as logs from "aws-cdk-lib/aws-logs";
import * as ssm from "aws-cdk-lib/aws-ssm";
import type { Construct } from "constructs";
import { BaseTask } from "./base-task.ts";
import { FileSystem } from "./file-system.ts";
import type { NetworkStack } from "./network.ts";
import { removalPolicy } from "./removal.ts";
import type { Settings } from "./settings.ts";
import { UserRoles } from "./user-roles.ts";

export interface FleetProps extends StackProps {
  readonly settings: Settings;
  readonly network: NetworkStack;
  /** Image of users' containers; without a registry it is in this account's ECR. */
  readonly image: string;
  /** Repository of the extended image in ECR of this account; undefined when it is in another registry. */
  readonly extendedRepository: string | undefined;
}

export class FleetStack extends Stack {
  readonly cluster: ecs.Cluster;
  readonly fileSystem: FileSystem;
  readonly roles: UserRoles;
  /** The logs of users' containers. */
  readonly logGroup: logs.LogGroup;
  readonly extendedRepository: string | undefined;

  constructor(scope: Construct, id: string, props: FleetProps) {
    super(scope, id, props);
    const { settings, network } = props;
    this.extendedRepository = props.extendedRepository;
    this.cluster = new ecs.Cluster(this, "Cluster", {
      vpc: network.vpc,
      clusterName: settings.name,
      containerInsightsV2: ecs.ContainerInsights.DISABLED,
    });
    this.logGroup = new logs.LogGroup(this, "Containers", {
      logGroupName: `/openclaw/${settings.env}/containers`,
      retention: logs.RetentionDays.ONE_MONTH,
      removalPolicy: removalPolicy(settings),
    });
    this.roles = new UserRoles(this, "UserRoles", { settings });
    this.fileSystem = new FileSystem(this, "FileSystem", {
      settings,
      subnets: network.subnets,
      securityGroup: network.groups.fileSystem,
      userTaskRole: this.roles.task,
    });
    this.roles.mount(this.fileSystem);
    this.roles.start(this.logGroup, props.extendedRepository);
    const registry = `${this.account}.dkr.ecr.${this.region}.${this.urlSuffix}`;
    new BaseTask(this, "BaseTask", {
      settings,
      roles: this.roles,
      logGroup: this.logGroup,
      fileSystemId: this.fileSystem.fileSystemId,
      image: repositoryOf(props.image) === undefined ? props.image : `${registry}/${props.image}`,
    });
    const coordinates = {
      cluster: this.cluster.clusterName,
      "base-family": settings.name,
      "file-system-id": this.fileSystem.fileSystemId,
      subnets: network.subnets.map((subnet) => subnet.subnetId).join(","),
      "security-groups": network.groups.users.securityGroupId,
    };
    for (const [name, value] of Object.entries(coordinates)) {
      new ssm.CfnParameter(this, `Parameter-${name}`, { name: `${settings.ssmPath}/${name}`, type: "String", value });
    }
  }
}

/** The repository of an image without a registry; a first part with a dot or a port is a registry. */
export function repositoryOf(image: string): string | undefined {
  const [first = "", ...rest] = image.split("/");
  if (rest.length > 0 && /[.:]|^localhost$/.test(first)) return undefined;
  return image.replace(/[:@].*$/, "");
}
