#!/usr/bin/env bash
# usage: infra/operate.sh ENV COMMAND [ARGUMENT…]          infra/operate.sh prod status alice
#
# Runs a command of openclaw-provisioner with the service's settings and file system: in a separate task with the service's
# task definition. Prints the command's output and exits with its exit code; takes about a minute. Needs the AWS CLI with
# rights to run that task and to read its log, and jq. ENV is the `env` with which infra/ was deployed.
set -euo pipefail
if [ $# -lt 2 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
env=$1
shift
cluster=openclaw-$env family=openclaw-$env-provisioner

# The network of the service, which reaches the file system and AWS.
network=$(aws ecs describe-services --cluster "$cluster" --services provisioner --query 'services[0].networkConfiguration' --output json)
if [ "$network" = null ]; then
    echo "error: the cluster $cluster has no service called provisioner; is it deployed, and is AWS_REGION right?" >&2
    exit 1
fi
overrides=$(jq -nc '{containerOverrides: [{name: "provisioner", command: $ARGS.positional}]}' --args -- "$@")
task=$(aws ecs run-task --cluster "$cluster" --task-definition "$family" --launch-type FARGATE \
    --network-configuration "$network" --overrides "$overrides" --started-by operate --query 'tasks[0].taskArn' --output text)
if [ "$task" = None ]; then
    echo "error: no task was started; the quota of Fargate, or capacity?" >&2
    exit 1
fi
echo "runs as ${task##*/}" >&2
aws ecs wait tasks-stopped --cluster "$cluster" --tasks "$task"
stream=$(aws ecs describe-task-definition --task-definition "$family" \
    --query 'taskDefinition.containerDefinitions[0].logConfiguration.options.["awslogs-group","awslogs-stream-prefix"]' --output text)
read -r group prefix <<<"$stream"
aws logs get-log-events --log-group-name "$group" --log-stream-name "$prefix/provisioner/${task##*/}" --start-from-head \
    --query 'events[].message' --output json | jq -r '.[]'
stopped=$(aws ecs describe-tasks --cluster "$cluster" --tasks "$task" --query 'tasks[0].[containers[0].exitCode,stoppedReason]' --output json)
code=$(jq -r '.[0] // empty' <<<"$stopped")
if [ -z "$code" ]; then
    jq -r '"error: it did not run: " + .[1]' <<<"$stopped" >&2
    exit 1
fi
exit "$code"
