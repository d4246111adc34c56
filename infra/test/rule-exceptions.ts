// Findings of cdk-nag that we accept, with the reason. A finding that is not here fails the tests, and so does an entry
// without a finding. ENV stands for the environment.

export const EXCEPTIONS: Readonly<Record<string, string>> = {
  "ECS4 at Fleet/Cluster/Resource":
    "Container Insights bills metrics by task: with thousands of containers it costs more than it tells. /metrics, the task events and docs/runbook.md are there instead",
  "ECS2 at Fleet/BaseTask/Base": "the variables are no secrets",
  "ECS2 at Provisioner/Task/Resource": "the variables are no secrets; the tokens come by `secrets`",
  "ELB2 at Provisioner/LoadBalancer/Resource":
    "the provisioner's own log has every request with its caller, kept for 90 days; access logs would need a bucket and its policy",
  "IAM5[*] at Fleet/UserRoles/Execution/DefaultPolicy/Resource": "ecr:GetAuthorizationToken has no resource types",
  "IAM5[*] at Provisioner/ExecutionRole/DefaultPolicy/Resource": "ecr:GetAuthorizationToken has no resource types",
  "IAM5[*] at Provisioner/TaskRole/DefaultPolicy/Resource":
    "ecs:DescribeTaskDefinition, DeregisterTaskDefinition, ListTaskDefinitions, ListServices and ListTasks have no narrower resource; the last two are tied to the cluster by a condition. Nor have iam:ListRoles and GetAccountSummary, with userRoles",
  "IAM5[iam:role/openclaw/ENV/users/*] at Provisioner/TaskRole/DefaultPolicy/Resource":
    "a role a user, under the one path and below the boundary",
  "IAM5[secretsmanager:secret:openclaw/ENV/users/*] at Fleet/UserRoles/Execution/DefaultPolicy/Resource":
    "users' keys come and go without a deployment, below this prefix",
  "IAM5[ecs:task-definition/openclaw-ENV-user:*] at Provisioner/TaskRole/DefaultPolicy/Resource":
    "revisions of the one user family",
  "IAM5[ecs:service/openclaw-ENV/openclaw-*] at Provisioner/TaskRole/DefaultPolicy/Resource":
    "a service a user, in the one cluster",
  "IAM5[ecs:task/openclaw-ENV/*] at Provisioner/TaskRole/DefaultPolicy/Resource":
    "tasks' ids are AWS's; in the one cluster",
  "IAM5[ecs:service-deployment/openclaw-ENV/openclaw-*] at Provisioner/TaskRole/DefaultPolicy/Resource":
    "deployments of users' services, in the one cluster",
  "IAM5[elasticfilesystem:access-point/*] at Provisioner/TaskRole/DefaultPolicy/Resource":
    "access points' ids are AWS's; deleting is tied to this environment by a tag, tagging to their creation",
  "IAM5[ssm:parameter/openclaw/ENV/*] at Provisioner/TaskRole/DefaultPolicy/Resource":
    "the coordinates of this environment",
};
