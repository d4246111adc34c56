// The provisioner itself: two replicas behind an internal load balancer, with the file system's root mounted.

import { CfnOutput, Duration, Stack, type StackProps } from "aws-cdk-lib";
import * as acm from "aws-cdk-lib/aws-certificatemanager";
import * as ecr from "aws-cdk-lib/aws-ecr";
import * as ecs from "aws-cdk-lib/aws-ecs";
import * as elb from "aws-cdk-lib/aws-elasticloadbalancingv2";
import * as iam from "aws-cdk-lib/aws-iam";
import * as logs from "aws-cdk-lib/aws-logs";
import * as secretsmanager from "aws-cdk-lib/aws-secretsmanager";
import type { Construct } from "constructs";
import { OWNER } from "./base-task.ts";
import type { FleetStack } from "./fleet.ts";
import { PROVISIONER_REPOSITORY } from "./images.ts";
import type { NetworkStack } from "./network.ts";
import { provisionerStatements } from "./provisioner-policy.ts";
import { removalPolicy } from "./removal.ts";
import { API_PORT } from "./security-groups.ts";
import type { ProvisionerSettings, Settings } from "./settings.ts";

/** Where the file system's root is in the provisioner's container. */
const EFS_ROOT = "/mnt/efs";

export interface ProvisionerProps extends StackProps {
  readonly settings: Settings;
  readonly provisioner: ProvisionerSettings;
  readonly network: NetworkStack;
  readonly fleet: FleetStack;
}

/** Replicas of the service. */
const REPLICAS = 2;
/** Most replicas while they are replaced, in percent of `REPLICAS`. */
const MAX_PERCENT = 150;

export class ProvisionerStack extends Stack {
  readonly logGroup: logs.LogGroup;
  readonly loadBalancer: elb.ApplicationLoadBalancer;
  readonly targets: elb.ApplicationTargetGroup;

  constructor(scope: Construct, id: string, props: ProvisionerProps) {
    super(scope, id, props);
    const { settings, network } = props;
    this.logGroup = new logs.LogGroup(this, "Log", {
      logGroupName: `/openclaw/${settings.env}/provisioner`,
      // It contains the audit trail.
      retention: logs.RetentionDays.THREE_MONTHS,
      removalPolicy: removalPolicy(settings),
    });
    this.loadBalancer = new elb.ApplicationLoadBalancer(this, "LoadBalancer", {
      vpc: network.vpc,
      vpcSubnets: { subnets: [...network.subnets] },
      internetFacing: false,
      securityGroup: network.groups.loadBalancer,
      // `…/wait` answers after 60 s at most, `…/events` sends something every 10 s.
      idleTimeout: Duration.seconds(75),
      dropInvalidHeaderFields: true,
    });
    this.targets = new elb.ApplicationTargetGroup(this, "Targets", {
      vpc: network.vpc,
      port: API_PORT,
      protocol: elb.ApplicationProtocol.HTTP,
      targetType: elb.TargetType.IP,
      // A stream ends when its replica gets SIGTERM, so a longer wait has no use.
      deregistrationDelay: Duration.seconds(30),
      healthCheck: {
        path: "/readyz",
        interval: Duration.seconds(15),
        timeout: Duration.seconds(5),
        healthyThresholdCount: 2,
        unhealthyThresholdCount: 3,
      },
    });
    const { certificateArn } = props.provisioner;
    this.loadBalancer.addListener("Listener", {
      // Only the web application's security groups have access, see security-groups.ts.
      open: false,
      port: network.groups.listenerPort,
      defaultTargetGroups: [this.targets],
      ...(certificateArn === undefined
        ? { protocol: elb.ApplicationProtocol.HTTP }
        : {
            protocol: elb.ApplicationProtocol.HTTPS,
            sslPolicy: elb.SslPolicy.RECOMMENDED_TLS,
            certificates: [acm.Certificate.fromCertificateArn(this, "Certificate", certificateArn)],
          }),
    });
    const service = new ecs.FargateService(this, "Service", {
      cluster: props.fleet.cluster,
      // Not `openclaw-…`: the provisioner may change services with that prefix, and must not change itself.
      serviceName: "provisioner",
      taskDefinition: this.task(props),
      desiredCount: REPLICAS,
      // At least two while they are replaced. ECS also replaces tasks that the load balancer finds unhealthy, and with these
      // limits it waits for a healthy replacement before it stops the other (ECS developer guide, "Service definition
      // parameters"): a hanging file system fails /readyz of all replicas, but stops none.
      minHealthyPercent: 100,
      maxHealthyPercent: MAX_PERCENT,
      circuitBreaker: { enable: true, rollback: true },
      // A start reads settings and mounts the file system.
      healthCheckGracePeriod: Duration.seconds(60),
      assignPublicIp: false,
      vpcSubnets: { subnets: [...network.subnets] },
      securityGroups: [network.groups.provisioner],
      propagateTags: ecs.PropagatedTagSource.SERVICE,
      enableExecuteCommand: false,
    });
    service.attachToApplicationTargetGroup(this.targets);
    // No certificate has the load balancer's own name: its owner has another name that points to it.
    const { loadBalancerDnsName } = this.loadBalancer;
    if (certificateArn === undefined) new CfnOutput(this, "ApiUrl", { value: `http://${loadBalancerDnsName}` });
    else new CfnOutput(this, "LoadBalancerDnsName", { value: loadBalancerDnsName });
  }

  private task({ settings, provisioner, fleet, network }: ProvisionerProps): ecs.FargateTaskDefinition {
    const role = (id: string, description: string) =>
      new iam.Role(this, id, {
        description,
        assumedBy: new iam.ServicePrincipal("ecs-tasks.amazonaws.com", {
          conditions: {
            StringEquals: { "aws:SourceAccount": this.account },
            ArnLike: { "aws:SourceArn": `arn:${this.partition}:ecs:${this.region}:${this.account}:*` },
          },
        }),
      });
    const taskRole = role("TaskRole", `${settings.name}: openclaw-provisioner`);
    const { fileSystem, roles, extendedRepository: repository } = fleet;
    const subnetIds = network.subnets.map((subnet) => subnet.subnetId);
    for (const statement of provisionerStatements(this, { settings, fileSystem, roles, repository, subnetIds }))
      taskRole.addToPolicy(statement);

    const task = new ecs.FargateTaskDefinition(this, "Task", {
      family: `${settings.name}-provisioner`,
      cpu: 256,
      memoryLimitMiB: 512,
      runtimePlatform: {
        cpuArchitecture: settings.architecture === "arm64" ? ecs.CpuArchitecture.ARM64 : ecs.CpuArchitecture.X86_64,
        operatingSystemFamily: ecs.OperatingSystemFamily.LINUX,
      },
      taskRole,
      executionRole: role("ExecutionRole", `${settings.name}: starts openclaw-provisioner`),
      volumes: [
        {
          name: "efs",
          efsVolumeConfiguration: {
            fileSystemId: fileSystem.fileSystemId,
            transitEncryption: "ENABLED",
            authorizationConfig: { iam: "ENABLED", accessPointId: fileSystem.rootAccessPointId },
          },
        },
      ],
    });
    const image = ecr.Repository.fromRepositoryName(this, "Repository", PROVISIONER_REPOSITORY);
    const tokens = secretsmanager.Secret.fromSecretCompleteArn(this, "Tokens", provisioner.tokensSecretArn);
    const container = task.addContainer("provisioner", {
      image: ecs.ContainerImage.fromEcrRepository(image, provisioner.tag),
      // The image's entry point is the binary. A task whose file system cannot be mounted does not start, so a root
      // without an identity is a new file system.
      command: ["serve", "--initialize"],
      // Root, because the file server lets nobody else set the owner 1000:1000, and it decides by the uid that it
      // receives: a capability of another user has no effect there.
      user: "0:0",
      readonlyRootFilesystem: true,
      linuxParameters: this.rootWithoutPowers(),
      environment: {
        PROVISIONER_SSM_PATH: settings.ssmPath,
        PROVISIONER_EFS_ROOT: EFS_ROOT,
        PROVISIONER_OWNER: OWNER,
        PROVISIONER_LISTEN: `0.0.0.0:${API_PORT}`,
        PROVISIONER_GATEWAY_PROBE: "http",
        // AWS's limits are for the account, and there are more replicas while they are replaced.
        PROVISIONER_REPLICAS: String(Math.floor((REPLICAS * MAX_PERCENT) / 100)),
        PROVISIONER_ENABLE_EXECUTE_COMMAND: String(settings.executeCommand),
        ...(roles.boundary && {
          PROVISIONER_USER_ROLES: String(settings.userRoles === "on"),
          PROVISIONER_USER_ROLES_PATH: settings.userRolesPath,
          PROVISIONER_USER_ROLES_BOUNDARY: roles.boundary.managedPolicyArn,
        }),
      },
      secrets: { PROVISIONER_TOKENS: ecs.Secret.fromSecretsManager(tokens) },
      portMappings: [{ containerPort: API_PORT }],
      healthCheck: {
        command: ["CMD", "/usr/local/bin/openclaw-provisioner", "healthcheck"],
        interval: Duration.seconds(15),
        timeout: Duration.seconds(5),
        retries: 3,
        startPeriod: Duration.seconds(60),
      },
      // After SIGTERM, work under way has up to 25 s to stop.
      stopTimeout: Duration.seconds(40),
      logging: ecs.LogDrivers.awsLogs({ logGroup: this.logGroup, streamPrefix: "provisioner" }),
    });
    container.addMountPoints({ sourceVolume: "efs", containerPath: EFS_ROOT, readOnly: false });
    return task;
  }

  /** Root with only the capabilities for other users' files. */
  private rootWithoutPowers(): ecs.LinuxParameters {
    const parameters = new ecs.LinuxParameters(this, "Linux", { initProcessEnabled: true });
    parameters.dropCapabilities(
      ecs.Capability.FSETID,
      ecs.Capability.MKNOD,
      ecs.Capability.NET_RAW,
      ecs.Capability.SETGID,
      ecs.Capability.SETUID,
      ecs.Capability.SETFCAP,
      ecs.Capability.SETPCAP,
      ecs.Capability.NET_BIND_SERVICE,
      ecs.Capability.SYS_CHROOT,
      ecs.Capability.KILL,
      ecs.Capability.AUDIT_WRITE,
    );
    return parameters;
  }
}
