// Alarms for what only CloudWatch can see: tasks that stop, the load balancer, the file system, and refusals in the
// provisioner's log. The rules for /metrics are in infra/observability.

import { Duration, Stack, type StackProps } from "aws-cdk-lib";
import * as budgets from "aws-cdk-lib/aws-budgets";
import * as cloudwatch from "aws-cdk-lib/aws-cloudwatch";
import * as actions from "aws-cdk-lib/aws-cloudwatch-actions";
import * as elb from "aws-cdk-lib/aws-elasticloadbalancingv2";
import * as events from "aws-cdk-lib/aws-events";
import * as logs from "aws-cdk-lib/aws-logs";
import * as sns from "aws-cdk-lib/aws-sns";
import * as subscriptions from "aws-cdk-lib/aws-sns-subscriptions";
import type { Construct } from "constructs";
import type { FleetStack } from "./fleet.ts";
import type { ProvisionerStack } from "./provisioner.ts";
import type { NetworkStack } from "./network.ts";
import { removalPolicy } from "./removal.ts";
import type { Settings } from "./settings.ts";

export interface ObservabilityProps extends StackProps {
  readonly settings: Settings;
  readonly network: NetworkStack;
  readonly fleet: FleetStack;
  readonly provisioner?: ProvisionerStack | undefined;
}

/** Reasons why tasks stop, by ECS's messages (ECS developer guide, "Stopped task error messages"). */
const STOPS = {
  ImagePullFailed: ['$.detail.stoppedReason = "*CannotPull*"', "An image cannot be pulled"],
  ResourcesFailed: [
    '$.detail.stoppedReason = "*ResourceInitializationError*"',
    "A file system cannot be mounted, or a secret not read",
  ],
  OutOfMemory: ['$.detail.containers[0].reason = "*OutOfMemory*"', "A container used up its memory"],
} as const;

export class ObservabilityStack extends Stack {
  private readonly settings: Settings;
  private readonly topic: sns.Topic | undefined;

  constructor(scope: Construct, id: string, props: ObservabilityProps) {
    super(scope, id, props);
    this.settings = props.settings;
    const { alarmEmail, name } = props.settings;
    if (alarmEmail !== undefined) {
      this.topic = new sns.Topic(this, "Alarms", { displayName: name, enforceSSL: true });
      this.topic.addSubscription(new subscriptions.EmailSubscription(alarmEmail));
    }
    this.taskEvents(props.fleet);
    this.fileSystem(props.fleet.fileSystem.fileSystemId);
    this.bills(props);
    if (props.provisioner) this.service(props.provisioner);
  }

  /** Keeps stopped tasks for 90 days: ECS forgets them after an hour (incident 21). */
  private taskEvents(fleet: FleetStack) {
    const group = new logs.LogGroup(this, "TaskEvents", {
      // EventBridge delivers only to groups with this prefix.
      logGroupName: `/aws/events/openclaw-${this.settings.env}-tasks`,
      retention: logs.RetentionDays.THREE_MONTHS,
      removalPolicy: removalPolicy(this.settings),
    });
    // Low-level: the CDK's own target for log groups would add a Lambda function to create this policy.
    const rule = new events.CfnRule(this, "TaskStates", {
      description: `${this.settings.name}: task states`,
      eventPattern: {
        source: ["aws.ecs"],
        "detail-type": ["ECS Task State Change"],
        detail: { clusterArn: [fleet.cluster.clusterArn] },
      },
      targets: [
        { id: "log", arn: `arn:${this.partition}:logs:${this.region}:${this.account}:log-group:${group.logGroupName}` },
      ],
    });
    // A task that ECS could not even start has no task state: no capacity, no vCPU left, a wrong network.
    const troubles = new events.CfnRule(this, "ServiceTroubles", {
      description: `${this.settings.name}: warnings and errors of services`,
      eventPattern: {
        source: ["aws.ecs"],
        "detail-type": ["ECS Service Action"],
        detail: { clusterArn: [fleet.cluster.clusterArn], eventType: ["WARN", "ERROR"] },
      },
      targets: [
        { id: "log", arn: `arn:${this.partition}:logs:${this.region}:${this.account}:log-group:${group.logGroupName}` },
      ],
    });
    const rules = [rule.attrArn, troubles.attrArn];
    const delivers = {
      Effect: "Allow",
      Principal: { Service: ["events.amazonaws.com", "delivery.logs.amazonaws.com"] },
      Resource: group.logGroupArn,
    };
    new logs.CfnResourcePolicy(this, "TaskEventsPolicy", {
      policyName: `${this.settings.name}-task-events`,
      policyDocument: this.toJsonString({
        Version: "2012-10-17",
        Statement: [
          // Only PutLogEvents has the rule's ARN (EventBridge user guide, "CloudWatch Logs permissions").
          { ...delivers, Action: "logs:CreateLogStream" },
          { ...delivers, Action: "logs:PutLogEvents", Condition: { ArnEquals: { "aws:SourceArn": rules } } },
        ],
      }),
    });
    for (const [name, [pattern, description]] of Object.entries(STOPS)) {
      const metric = this.count(group, name, `{ $.detail.lastStatus = "STOPPED" && ${pattern} }`);
      this.alarm(name, description, metric, { threshold: 1, periods: 1 });
    }
    const names = ["SERVICE_TASK_PLACEMENT_FAILURE", "SERVICE_TASK_CONFIGURATION_FAILURE"];
    const unplaced = names.map((name) => `($.detail.eventName = "${name}")`).join(" || ");
    this.alarm("PlacementFailed", "ECS cannot start a task", this.count(group, "PlacementFailed", `{ ${unplaced} }`), {
      threshold: 1,
      periods: 1,
    });
  }

  private fileSystem(fileSystemId: string) {
    const metric = (metricName: string, statistic: string) =>
      new cloudwatch.Metric({
        namespace: "AWS/EFS",
        metricName,
        statistic,
        period: Duration.minutes(5),
        dimensionsMap: { FileSystemId: fileSystemId },
      });
    this.alarm("FileSystemBusy", "The file system is at its limit of operations", metric("PercentIOLimit", "Average"), {
      threshold: 95,
      periods: 3,
    });
    if (this.settings.throughputMode === "bursting") {
      this.alarm(
        "BurstCreditsLow",
        "The file system is about to become slow: set throughputMode=elastic",
        // 1 TiB of the 2.1 TiB that a file system starts with (EFS user guide, "Bursting throughput").
        metric("BurstCreditBalance", "Minimum"),
        { threshold: 1024 ** 4, periods: 3, below: true },
      );
    }
  }

  /** Alarms for what has no limit and is paid by the byte: nothing else stops a user who writes, prints or sends without end. */
  private bills({ fleet, network }: ObservabilityProps) {
    const anHour = (namespace: string, metricName: string, dimensionsMap: Record<string, string>) =>
      new cloudwatch.Metric({ namespace, metricName, dimensionsMap, statistic: "Sum", period: Duration.hours(1) });
    const { fileSystemId } = fleet.fileSystem;
    const gib = 1024 ** 3;
    // About 6 USD an hour with elastic throughput, if all of it is written.
    const metered = anHour("AWS/EFS", "MeteredIOBytes", { FileSystemId: fileSystemId });
    this.alarm("FileSystemBytes", "The file system moves 100 GiB an hour", metered, {
      threshold: 100 * gib,
      periods: 1,
    });
    const size = new cloudwatch.Metric({
      namespace: "AWS/EFS",
      metricName: "StorageBytes",
      dimensionsMap: { FileSystemId: fileSystemId, StorageClass: "Total" },
      statistic: "Maximum",
      period: Duration.hours(1),
    });
    this.alarm("FileSystemSize", "The file system holds 1 TiB", size, { threshold: 1024 * gib, periods: 1 });
    const lines = anHour("AWS/Logs", "IncomingBytes", { LogGroupName: fleet.logGroup.logGroupName });
    this.alarm("LogBytes", "Users' containers log 5 GiB an hour", lines, { threshold: 5 * gib, periods: 1 });
    const leaving = network.natGatewayIds.map((NatGatewayId) =>
      anHour("AWS/NATGateway", "BytesOutToDestination", { NatGatewayId }),
    );
    if (leaving.length > 0) {
      const all = new cloudwatch.MathExpression({
        expression: "SUM(METRICS())",
        usingMetrics: Object.fromEntries(leaving.map((metric, index) => [`gateway${index}`, metric])),
        period: Duration.hours(1),
      });
      this.alarm("NatBytes", "50 GiB an hour leave through NAT", all, { threshold: 50 * gib, periods: 1 });
    }
    const { alarmEmail, budgetUsd, name } = this.settings;
    if (alarmEmail === undefined || budgetUsd === undefined) return;
    const told = (notificationType: string, threshold: number) => ({
      notification: { notificationType, comparisonOperator: "GREATER_THAN", threshold, thresholdType: "PERCENTAGE" },
      subscribers: [{ subscriptionType: "EMAIL", address: alarmEmail }],
    });
    new budgets.CfnBudget(this, "Budget", {
      budget: {
        budgetName: name,
        budgetType: "COST",
        timeUnit: "MONTHLY",
        budgetLimit: { amount: budgetUsd, unit: "USD" },
      },
      notificationsWithSubscribers: [told("ACTUAL", 80), told("FORECASTED", 100)],
    });
  }

  private service({ loadBalancer, targets, logGroup }: ProvisionerStack) {
    const minute = { period: Duration.minutes(1) };
    this.alarm(
      "NoHealthyReplica",
      "No replica of the provisioner is healthy",
      targets.metrics.healthyHostCount({ ...minute, statistic: "Maximum" }),
      { threshold: 1, periods: 3, below: true, missing: cloudwatch.TreatMissingData.BREACHING },
    );
    this.alarm(
      "ApiErrors",
      "The provisioner answers 5xx",
      targets.metrics.httpCodeTarget(elb.HttpCodeTarget.TARGET_5XX_COUNT, { period: Duration.minutes(5) }),
      { threshold: 10, periods: 1 },
    );
    this.alarm(
      "LoadBalancerErrors",
      "The load balancer finds no replica that answers",
      loadBalancer.metrics.httpCodeElb(elb.HttpCodeElb.ELB_5XX_COUNT, { period: Duration.minutes(5) }),
      { threshold: 10, periods: 1 },
    );
    // The service's log is flat JSON; this code means that its role, or a user's task, lacks a permission.
    const denied = this.count(logGroup, "AccessDenied", '{ $.aws_code = "AccessDenied*" }');
    this.alarm("AccessDenied", "AWS refuses the provisioner a call that it needs", denied, {
      threshold: 1,
      periods: 1,
    });
  }

  /** A metric that counts the matching lines of a log group. */
  private count(logGroup: logs.ILogGroup, metricName: string, pattern: string): cloudwatch.Metric {
    const metricNamespace = `OpenClaw/${this.settings.env}`;
    new logs.CfnMetricFilter(this, `${metricName}Filter`, {
      logGroupName: logGroup.logGroupName,
      filterPattern: pattern,
      metricTransformations: [{ metricNamespace, metricName, metricValue: "1", defaultValue: 0 }],
    });
    return new cloudwatch.Metric({
      namespace: metricNamespace,
      metricName,
      statistic: "Sum",
      period: Duration.minutes(5),
    });
  }

  private alarm(
    id: string,
    description: string,
    metric: cloudwatch.IMetric,
    at: {
      readonly threshold: number;
      readonly periods: number;
      readonly below?: boolean;
      readonly missing?: cloudwatch.TreatMissingData;
    },
  ) {
    const { GREATER_THAN_OR_EQUAL_TO_THRESHOLD, LESS_THAN_THRESHOLD } = cloudwatch.ComparisonOperator;
    const alarm = new cloudwatch.Alarm(this, id, {
      alarmName: `${this.settings.name}-${id}`,
      alarmDescription: `${description}. See docs/runbook.md`,
      metric,
      threshold: at.threshold,
      evaluationPeriods: at.periods,
      comparisonOperator: at.below ? LESS_THAN_THRESHOLD : GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      treatMissingData: at.missing ?? cloudwatch.TreatMissingData.NOT_BREACHING,
    });
    if (this.topic) alarm.addAlarmAction(new actions.SnsAction(this.topic));
  }
}
