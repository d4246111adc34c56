//! Everything that is created for a new user.

use serde_json::{Value, json};

use super::{requests, running, service};
use crate::harness::{BASE, TestApp, provision_body};

const SECRET: &str = "arn:aws:secretsmanager:us-east-1:123456789012:secret:openai";

#[tokio::test(start_paused = true)]
async fn a_new_user_gets_201_with_the_whole_state_after_six_calls() {
    let app = TestApp::start().await;
    let answer = app.provision("alice").await;
    assert_eq!((answer.status, answer.header("location")), (201, Some("/containers/alice")));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let access_points = app.access_points();
    assert_eq!(access_points.len(), 1);
    insta::assert_json_snapshot!(answer.body, @r#"
    {
      "accepted": null,
      "access_point_id": null,
      "base_task_definition": "arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev:1",
      "credentials": "written",
      "credentials_reason": "missing",
      "image": "ghcr.io/openclaw/openclaw:2026.4.21",
      "openclaw_version": "2026.4.21",
      "phase": "service",
      "provider": "chatgpt",
      "ready": false,
      "reason": null,
      "reauth_required": false,
      "service": "openclaw-alice-2bd806c97f0e",
      "size": {
        "cpu": 512,
        "memory_mib": 2048
      },
      "state": "provisioning",
      "task_definition": "arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev-user:1",
      "user_id": "alice",
      "warnings": []
    }
    "#);
    let mut calls = app.calls();
    calls[..4].sort();
    assert_eq!(
        calls,
        [
            "ecs:DescribeServices",
            "ecs:DescribeTaskDefinition",
            "ecs:ListTaskDefinitions",
            "efs:CreateAccessPoint",
            "ecs:RegisterTaskDefinition",
            "ecs:CreateService"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_service_never_has_two_tasks_and_is_found_by_its_tags() {
    let app = TestApp::start().await;
    running(&app, "alice").await;
    let service = service(&app, "alice").await;
    let members = [
        "serviceName",
        "desiredCount",
        "launchType",
        "availabilityZoneRebalancing",
        "deploymentConfiguration",
        "enableECSManagedTags",
        "enableExecuteCommand",
        "networkConfiguration",
        "propagateTags",
        "serviceRegistries",
    ];
    let chosen: serde_json::Map<String, Value> =
        members.iter().map(|name| ((*name).to_owned(), service[*name].clone())).collect();
    insta::assert_json_snapshot!(chosen, @r#"
    {
      "availabilityZoneRebalancing": "DISABLED",
      "deploymentConfiguration": {
        "bakeTimeInMinutes": 0,
        "deploymentCircuitBreaker": {
          "enable": true,
          "rollback": true,
          "thresholdConfiguration": {
            "type": "COUNT",
            "value": 2
          }
        },
        "maximumPercent": 100,
        "minimumHealthyPercent": 0,
        "strategy": "ROLLING"
      },
      "desiredCount": 1,
      "enableECSManagedTags": true,
      "enableExecuteCommand": false,
      "launchType": "FARGATE",
      "networkConfiguration": {
        "awsvpcConfiguration": {
          "assignPublicIp": "DISABLED",
          "securityGroups": [
            "sg-0123456789abcdef0"
          ],
          "subnets": [
            "subnet-0123456789abcdef0"
          ]
        }
      },
      "propagateTags": "SERVICE",
      "serviceName": "openclaw-alice-2bd806c97f0e",
      "serviceRegistries": []
    }
    "#);
    let tags = json!([
        {"key": "Name", "value": service["serviceName"]},
        {"key": "openclaw:user-id", "value": "alice"},
        {"key": "openclaw:base-family", "value": BASE},
    ]);
    assert_eq!(requests(&app, "CreateService")[0]["tags"], tags);
}

#[tokio::test(start_paused = true)]
async fn the_definition_is_the_base_with_the_users_own_settings() {
    let app = TestApp::start().await;
    let mut body = provision_body("alice");
    body["size"] = json!({"cpu": 1024, "memory_mib": 4096});
    body["image"] = json!("ghcr.io/openclaw/openclaw:2026.4.25");
    body["variables"] = json!({"TZ": "Europe/Berlin", "LANG": "de"});
    body["secrets"] = json!({"OPENAI_API_KEY": SECRET});
    body["labels"] = json!({"plan": "pro"});
    let answer = app.post("/provision", body).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.body["size"], json!({"cpu": 1024, "memory_mib": 4096}));
    assert_eq!(answer.body["openclaw_version"], "2026.4.25");
    let mut request = requests(&app, "RegisterTaskDefinition")[0].clone();
    let efs = &mut request["volumes"][0]["efsVolumeConfiguration"];
    let access_point = app.access_points()[0]["AccessPointId"].clone();
    assert_eq!(efs["authorizationConfig"]["accessPointId"], access_point);
    assert_eq!(efs["fileSystemId"], app.file_system_id.as_str());
    efs["authorizationConfig"]["accessPointId"] = json!("fsap-…");
    efs["fileSystemId"] = json!("fs-…");
    let labels = &mut request["containerDefinitions"][0]["dockerLabels"];
    assert_eq!(labels["openclaw.provisioner.access-point"].take(), access_point);
    let digest = labels["openclaw.provisioner.digest"].take();
    assert_eq!(digest.as_str().map(str::len), Some(64));
    insta::assert_json_snapshot!(request, @r#"
    {
      "containerDefinitions": [
        {
          "command": [
            "node",
            "openclaw.mjs",
            "gateway",
            "--allow-unconfigured"
          ],
          "cpu": 0,
          "dockerLabels": {
            "openclaw.provisioner.access-point": null,
            "openclaw.provisioner.base": "arn:aws:ecs:us-east-1:123456789012:task-definition/openclaw-dev:1",
            "openclaw.provisioner.digest": null,
            "openclaw.provisioner.isolation": "without-role",
            "openclaw.provisioner.openclaw-version": "2026.4.25",
            "openclaw.provisioner.setpriv": "/usr/bin/setpriv",
            "openclaw.provisioner.spec": "{\"image\":\"ghcr.io/openclaw/openclaw:2026.4.25\",\"labels\":{\"plan\":\"pro\"},\"secrets\":{\"OPENAI_API_KEY\":\"arn:aws:secretsmanager:us-east-1:123456789012:secret:openai\"},\"sign_in\":\"chatgpt\",\"size\":{\"cpu\":1024,\"memory_mib\":4096},\"variables\":{\"LANG\":\"de\",\"TZ\":\"Europe/Berlin\"}}",
            "openclaw.provisioner.user-id": "alice",
            "plan": "pro"
          },
          "entryPoint": [
            "/usr/bin/env",
            "-u",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "/usr/bin/setpriv",
            "--reuid=1000",
            "--regid=1000",
            "--clear-groups",
            "--bounding-set=-all",
            "--inh-caps=-all",
            "--no-new-privs",
            "--"
          ],
          "environment": [
            {
              "name": "NODE_ENV",
              "value": "production"
            },
            {
              "name": "CODEX_HOME",
              "value": "/home/node/.openclaw/codex"
            },
            {
              "name": "TZ",
              "value": "Europe/Berlin"
            },
            {
              "name": "LANG",
              "value": "de"
            },
            {
              "name": "OPENCLAW_STATE_DIR",
              "value": "/home/node/.openclaw"
            },
            {
              "name": "HOME",
              "value": "/home/node"
            }
          ],
          "essential": true,
          "healthCheck": {
            "command": [
              "CMD",
              "/usr/bin/env",
              "-u",
              "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
              "/usr/bin/setpriv",
              "--reuid=1000",
              "--regid=1000",
              "--clear-groups",
              "--bounding-set=-all",
              "--inh-caps=-all",
              "--no-new-privs",
              "--",
              "true"
            ],
            "interval": 30,
            "retries": 3,
            "timeout": 5
          },
          "image": "ghcr.io/openclaw/openclaw:2026.4.25",
          "linuxParameters": {
            "capabilities": {
              "drop": [
                "AUDIT_WRITE",
                "CHOWN",
                "DAC_OVERRIDE",
                "FOWNER",
                "FSETID",
                "MKNOD",
                "NET_BIND_SERVICE",
                "NET_RAW",
                "SETFCAP",
                "SYS_CHROOT"
              ]
            }
          },
          "mountPoints": [
            {
              "containerPath": "/home/node/.openclaw",
              "readOnly": false,
              "sourceVolume": "openclaw"
            }
          ],
          "name": "openclaw",
          "portMappings": [
            {
              "containerPort": 18789,
              "hostPort": 18789,
              "protocol": "tcp"
            }
          ],
          "secrets": [
            {
              "name": "BASE_SECRET",
              "valueFrom": "arn:aws:ssm:us-east-1:123456789012:parameter/base"
            },
            {
              "name": "OPENAI_API_KEY",
              "valueFrom": "arn:aws:secretsmanager:us-east-1:123456789012:secret:openai"
            }
          ],
          "stopTimeout": 30,
          "systemControls": [],
          "user": "0:0",
          "volumesFrom": []
        }
      ],
      "cpu": "1024",
      "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
      "family": "openclaw-dev-user",
      "memory": "4096",
      "networkMode": "awsvpc",
      "placementConstraints": [],
      "requiresCompatibilities": [
        "FARGATE"
      ],
      "runtimePlatform": {
        "cpuArchitecture": "X86_64",
        "operatingSystemFamily": "LINUX"
      },
      "tags": [
        {
          "key": "openclaw:base-family",
          "value": "openclaw-dev"
        },
        {
          "key": "openclaw:user-id",
          "value": "alice"
        },
        {
          "key": "team",
          "value": "platform"
        }
      ],
      "taskRoleArn": "arn:aws:iam::123456789012:role/task",
      "volumes": [
        {
          "efsVolumeConfiguration": {
            "authorizationConfig": {
              "accessPointId": "fsap-…",
              "iam": "ENABLED"
            },
            "fileSystemId": "fs-…",
            "rootDirectory": "/",
            "transitEncryption": "ENABLED"
          },
          "name": "openclaw"
        }
      ]
    }
    "#);
}

#[tokio::test(start_paused = true)]
async fn the_access_point_has_the_users_directory_and_the_containers_user() {
    let app = TestApp::start().await;
    app.provision("alice").await;
    let access_point = app.access_points()[0].clone();
    assert_eq!(access_point["PosixUser"], json!({"Uid": 1000, "Gid": 1000}));
    let creation = json!({"OwnerUid": 1000, "OwnerGid": 1000, "Permissions": "0700"});
    assert_eq!(access_point["RootDirectory"], json!({"Path": "/users/alice", "CreationInfo": creation}));
}
