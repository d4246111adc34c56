// All security-group rules of the deployment. What is not in this file is closed.

import { CfnOutput } from "aws-cdk-lib";
import * as ec2 from "aws-cdk-lib/aws-ec2";
import { Construct } from "constructs";
import type { Settings } from "./settings.ts";

/** Port of OpenClaw's gateway. */
export const GATEWAY_PORT = 18789;
/** Port of the provisioner's API in its container. */
export const API_PORT = 8080;
const HTTPS = 443;
const HTTP = 80;
const NFS = 2049;

export interface SecurityGroupsProps {
  readonly vpc: ec2.IVpc;
  readonly settings: Settings;
  /** Whether there are interface endpoints to guard. */
  readonly endpoints: boolean;
}

export class SecurityGroups extends Construct {
  /** Users' containers. */
  readonly users: ec2.ISecurityGroup;
  readonly provisioner: ec2.ISecurityGroup;
  readonly loadBalancer: ec2.ISecurityGroup;
  /** Port that the load balancer listens on. */
  readonly listenerPort: number;
  readonly fileSystem: ec2.ISecurityGroup;
  readonly endpoints?: ec2.ISecurityGroup;

  constructor(scope: Construct, id: string, props: SecurityGroupsProps) {
    super(scope, id);
    const group = (name: string, description: string) =>
      new ec2.SecurityGroup(this, name, { vpc: props.vpc, description, allowAllOutbound: false });
    const users = group("Users", "OpenClaw containers of users");
    const provisioner = group("Provisioner", "openclaw-provisioner");
    const loadBalancer = group("LoadBalancer", "Load balancer of openclaw-provisioner");
    const fileSystem = group("FileSystem", "Mount targets of the file system");
    const allow = (from: ec2.SecurityGroup, to: ec2.SecurityGroup, port: number, why: string) => {
      from.addEgressRule(to, ec2.Port.tcp(port), why);
      to.addIngressRule(from, ec2.Port.tcp(port), why);
    };

    // No user's container can reach another one: there is no ingress from `users`, and none from a range of
    // addresses. DNS needs no rule: security groups do not filter the VPC's resolver, nor the task metadata endpoint
    // (VPC user guide, "Control traffic to your AWS resources using security groups").
    users.addEgressRule(ec2.Peer.anyIpv4(), ec2.Port.tcp(HTTPS), "ChatGPT, providers, registries, AWS");
    allow(users, fileSystem, NFS, "directory of the user");
    allow(provisioner, users, GATEWAY_PORT, "gateway probe");

    provisioner.addEgressRule(ec2.Peer.anyIpv4(), ec2.Port.tcp(HTTPS), "AWS");
    allow(provisioner, fileSystem, NFS, "directories of all users");
    allow(loadBalancer, provisioner, API_PORT, "API and its health");

    this.listenerPort = props.settings.provisioner?.certificateArn === undefined ? HTTP : HTTPS;
    // Created here, because a new VPC has no group yet for the web application. The web application has it in addition to
    // its own.
    const webApp = group("WebApp", "Web application, which calls the API and the gateways of users");
    allow(webApp, loadBalancer, this.listenerPort, "the web application");
    allow(webApp, users, GATEWAY_PORT, "the web application");
    for (const groupId of props.settings.webAppSecurityGroupIds) {
      const peer = ec2.Peer.securityGroupId(groupId);
      loadBalancer.addIngressRule(peer, ec2.Port.tcp(this.listenerPort), "the web application");
      users.addIngressRule(peer, ec2.Port.tcp(GATEWAY_PORT), "the web application");
    }
    if (props.endpoints) {
      const endpoints = group("Endpoints", "Interface endpoints of AWS services");
      for (const from of [users, provisioner]) {
        endpoints.addIngressRule(from, ec2.Port.tcp(HTTPS), "AWS");
      }
      this.endpoints = endpoints;
    }
    // Immutable: a construct that gets one of these adds no rule of its own.
    const fixed = (name: string, made: ec2.SecurityGroup) =>
      ec2.SecurityGroup.fromSecurityGroupId(this, `${name}Fixed`, made.securityGroupId, { mutable: false });
    this.users = fixed("Users", users);
    this.provisioner = fixed("Provisioner", provisioner);
    this.loadBalancer = fixed("LoadBalancer", loadBalancer);
    this.fileSystem = fixed("FileSystem", fileSystem);
    new CfnOutput(scope, "WebAppSecurityGroup", { value: webApp.securityGroupId });
  }
}
