// The network: a new or an existing VPC, and its security groups.

import { CfnOutput, Stack, type StackProps } from "aws-cdk-lib";
import * as ec2 from "aws-cdk-lib/aws-ec2";
import * as logs from "aws-cdk-lib/aws-logs";
import type { Construct } from "constructs";
import { removalPolicy } from "./removal.ts";
import { SecurityGroups } from "./security-groups.ts";
import type { Settings } from "./settings.ts";

export interface NetworkProps extends StackProps {
  readonly settings: Settings;
}

export class NetworkStack extends Stack {
  readonly vpc: ec2.IVpc;
  /** One private subnet for each zone: for users' containers, the provisioner and the mount targets. */
  readonly subnets: readonly ec2.ISubnet[];
  /** The NAT gateways created here. */
  readonly natGatewayIds: readonly string[];
  readonly groups: SecurityGroups;

  constructor(scope: Construct, id: string, props: NetworkProps) {
    super(scope, id, props);
    const { settings } = props;
    if (settings.existingVpc) {
      // From attributes and not by look-up: a synth makes no AWS calls, and gives the same template everywhere.
      const { vpcId, availabilityZones, privateSubnetIds, privateRouteTableIds } = settings.existingVpc;
      this.vpc = ec2.Vpc.fromVpcAttributes(this, "Vpc", {
        vpcId,
        availabilityZones: [...availabilityZones],
        privateSubnetIds: [...privateSubnetIds],
      });
      this.subnets = this.vpc.privateSubnets;
      this.natGatewayIds = [];
      this.groups = new SecurityGroups(this, "Groups", { vpc: this.vpc, settings, endpoints: false });
      if (privateRouteTableIds.length > 0) {
        new ec2.CfnVPCEndpoint(this, "S3", {
          vpcId,
          vpcEndpointType: "Gateway",
          serviceName: `com.amazonaws.${this.region}.s3`,
          routeTableIds: [...privateRouteTableIds],
        });
      }
      return;
    }
    const vpc = new ec2.Vpc(this, "Vpc", {
      vpcName: settings.name,
      ipAddresses: ec2.IpAddresses.cidr(settings.vpcCidr),
      maxAzs: 2,
      natGateways: settings.natGateways,
      subnetConfiguration: [
        // Only for the NAT gateways.
        { name: "public", subnetType: ec2.SubnetType.PUBLIC, cidrMask: 24, mapPublicIpOnLaunch: false },
        // One address for each container: 4,091 in each of two zones; the quota of services in a cluster is 5,000.
        { name: "private", subnetType: ec2.SubnetType.PRIVATE_WITH_EGRESS, cidrMask: 20 },
      ],
    });
    this.vpc = vpc;
    const made = vpc.node.findAll().filter((one) => one instanceof ec2.CfnNatGateway);
    this.natGatewayIds = made.map((gateway) => gateway.ref);
    this.subnets = vpc.privateSubnets;
    // For a peering (README.md, "Another VPC").
    new CfnOutput(this, "VpcId", { value: vpc.vpcId });
    new CfnOutput(this, "PrivateRouteTables", {
      value: vpc.privateSubnets.map((subnet) => subnet.routeTable.routeTableId).join(","),
    });
    this.groups = new SecurityGroups(this, "Groups", { vpc, settings, endpoints: settings.interfaceEndpoints });
    // Free, and image layers then bypass the NAT gateway.
    vpc.addGatewayEndpoint("S3", { service: ec2.GatewayVpcEndpointAwsService.S3 });
    if (this.groups.endpoints) this.interfaceEndpoints(vpc, this.groups.endpoints);
    // Connections refused by a security group, so that a container that tries to reach its neighbours is visible.
    vpc.addFlowLog("Refused", {
      trafficType: ec2.FlowLogTrafficType.REJECT,
      destination: ec2.FlowLogDestination.toCloudWatchLogs(
        new logs.LogGroup(this, "RefusedTraffic", {
          logGroupName: `/openclaw/${settings.env}/refused-traffic`,
          retention: logs.RetentionDays.ONE_MONTH,
          removalPolicy: removalPolicy(settings),
        }),
      ),
    });
  }

  /** Endpoints for the calls of task starts and of the provisioner, which then bypass the NAT gateway. */
  private interfaceEndpoints(vpc: ec2.Vpc, group: ec2.ISecurityGroup) {
    const { ECR, ECR_DOCKER, CLOUDWATCH_LOGS, SECRETS_MANAGER, SSM, ECS, ELASTIC_FILESYSTEM } =
      ec2.InterfaceVpcEndpointAwsService;
    const services = {
      Ecr: ECR,
      EcrDocker: ECR_DOCKER,
      Logs: CLOUDWATCH_LOGS,
      Secrets: SECRETS_MANAGER,
      Ssm: SSM,
      Ecs: ECS,
      Efs: ELASTIC_FILESYSTEM,
    };
    for (const [id, service] of Object.entries(services)) {
      vpc.addInterfaceEndpoint(id, {
        service,
        securityGroups: [group],
        open: false,
        subnets: { subnets: vpc.privateSubnets },
      });
    }
  }
}
