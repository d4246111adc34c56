#!/usr/bin/env bash
# usage: infra/verify.sh ENV USER          infra/verify.sh dev alice
#
# What only a live account can tell of docs/first-deployment.md, as far as a script can: prints "yes", "NO" or "????" a line, and
# exits with 1 where something is NO. USER is a user who runs; their files are left alone. Starts two or three tasks, which takes about
# five minutes. Wants the AWS CLI with rights to register a task definition of the family openclaw-ENV-verify, to pass the base's roles
# or the user's own, to run and stop tasks, where users have roles of their own to make and delete an access point, and to read logs, CloudTrail, quotas, subnets, network interfaces and the account's summary of IAM; and jq.
set -euo pipefail
if [ $# -ne 2 ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
env=$1 user=$2
cluster=openclaw-$env failed=0

told() { # NAME VERDICT [WORDS]
    printf '%-28s %-4s %s\n' "$1" "$2" "${3-}"
    [ "$2" != NO ] || failed=1
}
# shellcheck disable=SC2016  # --arg passes the user's name.
service=$("$(dirname "$0")/operate.sh" "$env" status "$user" --json | jq -r --arg user "$user" 'select(.user_id == $user) | .service')
if [ -z "$service" ]; then
    echo "error: $user has no container in $env; provision one first (docs/operate.md, \"The first user\")" >&2
    exit 2
fi
described=$(aws ecs describe-services --cluster "$cluster" --services "$service" --query 'services[0].[taskDefinition,networkConfiguration]' --output json)
revision=$(jq -r '.[0]' <<<"$described") network=$(jq -c '.[1]' <<<"$described")
definition=$(aws ecs describe-task-definition --task-definition "$revision" --query taskDefinition --output json)
# The container that runs OpenClaw has a label with the user's id.
container=$(jq -c '.containerDefinitions[] | select(.dockerLabels["openclaw.provisioner.user-id"])' <<<"$definition")
name=$(jq -r .name <<<"$container")

run() { # REVISION [COMMAND…]
    local revision=$1 overrides
    shift
    overrides=$(jq -nc --arg name "$name" '{containerOverrides: [{name: $name} + if $ARGS.positional == [] then {} else {command: $ARGS.positional} end]}' --args -- "$@")
    aws ecs run-task --cluster "$cluster" --task-definition "$revision" --launch-type FARGATE --network-configuration "$network" \
        --overrides "$overrides" --started-by verify --query 'tasks[0].taskArn' --output text
}
stopped() { # TASK: its exit code and ECS's reason
    aws ecs wait tasks-stopped --cluster "$cluster" --tasks "$1"
    aws ecs describe-tasks --cluster "$cluster" --tasks "$1" --query 'tasks[0].[containers[0].exitCode,stoppedReason]' --output json
}
lines() { # TASK: what its container wrote
    local group prefix
    group=$(jq -r '.logConfiguration.options["awslogs-group"]' <<<"$container") prefix=$(jq -r '.logConfiguration.options["awslogs-stream-prefix"]' <<<"$container")
    aws logs get-log-events --log-group-name "$group" --log-stream-name "$prefix/$name/${1##*/}" --start-from-head \
        --query 'events[].message' --output json 2>/dev/null | jq -r '.[]?' || true
}

# 1. A mount of the file system without an access point is refused to the users' task role.
# shellcheck disable=SC2016  # The variable is jq's.
open=$(jq -c --arg family "$cluster-verify" '{family: $family, networkMode, requiresCompatibilities, cpu, memory, executionRoleArn, taskRoleArn,
      runtimePlatform, containerDefinitions, volumes} | with_entries(select(.value != null))
    | .containerDefinitions |= map(.dockerLabels = {} | .entryPoint = ["/bin/sh", "-c"] | .command = ["exit 0"] | del(.healthCheck))
    | .volumes |= map(if .efsVolumeConfiguration then .efsVolumeConfiguration.authorizationConfig = {iam: "ENABLED"} else . end)' <<<"$definition")
refused() { # NAME DEFINITION WORDS: a task of it does not run, because the file system refuses the mount
    local verify ended reason
    verify=$(aws ecs register-task-definition --cli-input-json "$2" --query taskDefinition.taskDefinitionArn --output text)
    ended=$(stopped "$(run "$verify")")
    aws ecs deregister-task-definition --task-definition "$verify" >/dev/null
    reason=$(jq -r '.[1] // ""' <<<"$ended")
    case $(jq -r '.[0] // "none"' <<<"$ended")$reason in
    # The words of EFS's mount helper: with the same error ECS also says that an image, a secret or a log cannot be reached.
    none*ResourceInitializationError*"access denied by server"*) told "$1" yes "refused: $reason" ;;
    none*) told "$1" '????' "it did not run, for another reason: $reason" ;;
    *) told "$1" NO "$3" ;;
    esac
}
refused mount_without_access_point "$open" "it ran with the whole file system: mend the file-system policy (infra/lib/file-system.ts) before anybody is let in"

# A user's own role mounts through their access point alone. The other one is made for this, on an empty directory.
case $(jq -r .taskRoleArn <<<"$definition") in
*:role/openclaw/"$env"/users/*)
    files=$(jq -r '[.volumes[].efsVolumeConfiguration // empty | .fileSystemId][0]' <<<"$definition")
    other=$(aws efs create-access-point --file-system-id "$files" --posix-user Uid=1000,Gid=1000 \
        --root-directory 'Path=/verify,CreationInfo={OwnerUid=1000,OwnerGid=1000,Permissions=0700}' --query AccessPointId --output text)
    for _ in $(seq 12); do
        state=$(aws efs describe-access-points --access-point-id "$other" --query 'AccessPoints[0].LifeCycleState' --output text)
        [ "$state" != available ] || break
        sleep "${VERIFY_PAUSE:-5}"
    done
    if [ "$state" = available ]; then
        # That the role mounts the user's own files is seen by the next check, which runs the user's own revision.
        refused own_role_mounts_own_files_alone "$(jq -c --arg other "$other" \
            '.volumes |= map(if .efsVolumeConfiguration then .efsVolumeConfiguration.authorizationConfig.accessPointId = $other else . end)' <<<"$open")" \
            "it ran with another access point: EFS does not judge by the user's role, so turn userRoles off, and report it"
    else
        told own_role_mounts_own_files_alone '????' "the access point made for this is $state and not available; run it again"
    fi
    aws efs delete-access-point --access-point-id "$other"
    ;;
esac

# 2. The rights of a user's process: run as the agent, behind the entry point of the user's own revision.
# shellcheck disable=SC2016  # All of it is for the container's shell.
probe='
say() { echo "VERIFY $1 $2"; }
is() { name=$1; shift; if "$@" >/dev/null 2>&1; then say "$name" yes; else say "$name" NO; fi; }
is not_root sh -c "[ \"\$(id -u)\" != 0 ]"
is no_capabilities sh -c "! grep -E \"^Cap\" /proc/self/status | grep -qv \"0000000000000000\$\""
is no_new_privileges grep -q "^NoNewPrivs:.*1" /proc/self/status
is no_credentials_variable sh -c "[ -z \"\${AWS_CONTAINER_CREDENTIALS_RELATIVE_URI+set}\" ]"
is no_environment_shows_them sh -c "! cat /proc/[0-9]*/environ 2>/dev/null | grep -qa /credentials/"
is metadata_does_not_show_them node -e "const at = process.env.ECS_CONTAINER_METADATA_URI_V4; Promise.all([\"\", \"/task\", \"/taskWithTags\", \"/stats\", \"/task/stats\"].map((path) => fetch(at + path).then((answer) => answer.text()))).then((texts) => process.exit(/credentials.[0-9a-f-]{36}/.test(texts.join()) ? 1 : 0), () => process.exit(1))"
is directory_is_writable sh -c "touch \"\$OPENCLAW_STATE_DIR/.verify\" && rm \"\$OPENCLAW_STATE_DIR/.verify\""
is programs_run_from_tmp sh -c "cp /bin/true /tmp/verify && /tmp/verify && rm /tmp/verify"
trap "say sigterm_arrives yes; exit 0" TERM
say waits yes
sleep 600 & wait $!
'
if [ "$(jq -r '.dockerLabels["openclaw.provisioner.isolation"] // "none"' <<<"$container")" != without-role ]; then
    told isolated NO "the revision of $user does not ask for it: deploy the base, then redeploy $user"
fi
task=$(run "$revision" /bin/sh -c "$probe")
for _ in $(seq "${VERIFY_POLLS:-60}"); do
    ! lines "$task" | grep -q '^VERIFY waits' || break
    sleep "${VERIFY_PAUSE:-5}"
done
aws ecs stop-task --cluster "$cluster" --task "$task" --reason verify >/dev/null
stopped "$task" >/dev/null
said=$(lines "$task")
for check in not_root no_capabilities no_new_privileges no_credentials_variable no_environment_shows_them metadata_does_not_show_them \
    directory_is_writable programs_run_from_tmp sigterm_arrives; do
    verdict=$(sed -n "s/^VERIFY $check //p" <<<"$said")
    # No line means no proof, whatever the cause.
    told "$check" "${verdict:-NO}" "$([ -n "$verdict" ] || echo "not said: ${task##*/}")"
done

# 3. The user's own task, whose health check runs behind the drop.
tasks=$(aws ecs list-tasks --cluster "$cluster" --service-name "$service" --query taskArns --output json | jq -r '.[]')
# shellcheck disable=SC2086  # Each task is an argument.
health=$(if [ -n "$tasks" ]; then aws ecs describe-tasks --cluster "$cluster" --tasks $tasks --query 'tasks[0].healthStatus' --output text; fi)
case $health in
HEALTHY) told health_check yes ;;
*) told health_check NO "the task of $user is ${health:-not there}" ;;
esac

# 4. Records of events: task events, mounts in CloudTrail (which may take a quarter of an hour).
# shellcheck disable=SC2016  # The pattern is CloudWatch's.
kept=$(aws logs filter-log-events --log-group-name "/aws/events/openclaw-$env-tasks" --start-time "$((($(date +%s) - 3600) * 1000))" \
    --filter-pattern '{ $.detail.lastStatus = "STOPPED" }' --max-items 1 --query 'length(events)' --output text)
case $kept in
0 | None | '') told task_events_are_kept NO "no stopped task in /aws/events/openclaw-$env-tasks in the last hour" ;;
*) told task_events_are_kept yes ;;
esac
mounts=$(aws cloudtrail lookup-events --lookup-attributes AttributeKey=EventName,AttributeValue=NewClientConnection --max-items 1 --query 'length(Events)' --output text)
case $mounts in
0 | None | '') told mounts_are_in_cloudtrail '????' "none yet: look again in a quarter of an hour" ;;
*) told mounts_are_in_cloudtrail yes ;;
esac

# 5. Capacity left in the whole account and Region. Each task uses an address of a subnet, and a network interface.
quota() { # SERVICE CODE: prints the quota in force, or nothing
    aws service-quotas get-service-quota --service-code "$1" --quota-code "$2" --query Quota.Value --output text 2>/dev/null | sed 's/\.0*$//; /^None$/d' || true
}
room() { # NAME USED LIMIT [WORDS]: NO if the quota is used up, ???? if it could not be read
    if [ -z "$2" ] || [ -z "$3" ]; then
        told "$1" '????' "${2:-unknown} of ${3:-unknown} used; not everything could be read"
    elif [ "$2" -ge "$3" ]; then
        told "$1" NO "$2 of $3 used"
    else
        told "$1" yes "$2 of $3 used${4-}"
    fi
}
# L-3032A538 is "Fargate On-Demand vCPU resource count".
vcpus=$(quota fargate L-3032A538)
case $vcpus in
'') told fargate_vcpus '????' "the quota could not be read; a new account has 6" ;;
*) told fargate_vcpus yes "$vcpus at once: divide by the vCPU of a user's size" ;;
esac
subnets=$(jq -r '.awsvpcConfiguration.subnets[]' <<<"$network")
# shellcheck disable=SC2086  # Each subnet is an argument.
free=$(aws ec2 describe-subnets --subnet-ids $subnets --query 'Subnets[].[SubnetId,AvailableIpAddressCount]' --output json 2>/dev/null || true)
left=$(jq -r 'map("\(.[0]) has \(.[1])") | join(", ")' <<<"${free:-[]}")
case $left in
'') told subnet_addresses '????' "the subnets could not be read" ;;
*' has 0'*) told subnet_addresses NO "no address is left in one: $left" ;;
*) told subnet_addresses yes "left: $left" ;;
esac
# L-DF5E4CA3 is "Network interfaces per Region".
interfaces=$(aws ec2 describe-network-interfaces --query 'length(NetworkInterfaces)' --output json 2>/dev/null || true)
room network_interfaces "$interfaces" "$(quota vpc L-DF5E4CA3)"
# Users' containers share two roles, unless each has one of their own.
roles=$(aws iam get-account-summary --query 'SummaryMap.[Roles,RolesQuota]' --output text 2>/dev/null || true)
room roles "$(cut -f1 <<<"$roles")" "$(cut -f2 -s <<<"$roles")" '; this deployment has what it needs of them'
exit "$failed"
