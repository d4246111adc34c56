//! The seed of an emulator: the resources that the infrastructure would have deployed.

use anyhow::Context;
use clap::Args;
use openclaw::OpenClawVersion;
use serde_json::{Value, json};

use crate::aws::{Aws, RateLimits, Seeder};
use crate::domain::{CODEX_HOME, ImageRef, LABEL_ISOLATION, VersionFile, WITHOUT_ROLE};
use crate::metrics::Metrics;

/// Name of the seeded cluster and of the base family.
pub(super) const NAME: &str = "openclaw-dev";
/// The token of the only caller of a `serve` over an emulator: no real secret.
const TOKENS: &str = "dev:provision:only-on-this-machine";
/// SSM path of the seeded coordinates.
pub(super) const SSM_PATH: &str = "/openclaw/dev";

/// `dev seed`.
#[derive(Debug, Args)]
pub(super) struct SeedArgs {
    /// Endpoint of the emulator, such as http://127.0.0.1:4566
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// Subnets to publish, comma-separated; some emulators need existing ones
    #[arg(long, default_value = "subnet-0123456789abcdef0", value_name = "IDS")]
    subnets: String,
    /// Security groups to publish, comma-separated
    #[arg(long, default_value = "sg-0123456789abcdef0", value_name = "IDS")]
    security_groups: String,
    #[command(flatten)]
    image: ImageArgs,
    /// Print the settings as one JSON object
    #[arg(long)]
    json: bool,
}

/// Which image the seeded base runs.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ImageArgs {
    /// OpenClaw release of the seeded base [default: the one in openclaw-version.json]
    #[arg(long, value_name = "VERSION")]
    openclaw_version: Option<String>,
}

impl ImageArgs {
    /// The upstream image of the wanted release.
    pub(super) fn image(&self) -> anyhow::Result<ImageRef> {
        let file = VersionFile::parse(include_str!("../../openclaw-version.json"))?;
        let Some(wanted) = &self.openclaw_version else { return Ok(file.upstream) };
        OpenClawVersion::from_tag(wanted)?.supported()?;
        Ok(ImageRef::parse(&format!("{}:{wanted}", file.upstream.name()), "--openclaw-version")?)
    }
}

/// The resources that a seed created.
pub(super) struct Seeded {
    pub(super) file_system_id: String,
    pub(super) base: String,
}

#[expect(clippy::print_stdout, reason = "the settings are this command's output")]
pub(super) async fn run(args: SeedArgs) -> anyhow::Result<()> {
    let config = crate::aws::for_endpoint(&args.endpoint).await;
    let aws = Aws::new(&config, &RateLimits::default(), &Metrics::default());
    let image = args.image.image()?;
    let seeded = seed(&aws, &Seeder::new(&config), &image, &args.subnets, &args.security_groups).await?;
    if args.json {
        let settings = json!({
            "AWS_ENDPOINT_URL": args.endpoint,
            "PROVISIONER_SSM_PATH": SSM_PATH,
            "file_system_id": seeded.file_system_id,
            "base_task_definition": seeded.base,
        });
        println!("{settings:#}");
        return Ok(());
    }
    println!("{}", start_script(&args.endpoint, &seeded)?);
    Ok(())
}

/// Shell commands that start `serve` over the seed. Variables that are set already keep their value.
fn start_script(endpoint: &str, seeded: &Seeded) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("the path of this program")?;
    let Seeded { file_system_id, base } = seeded;
    // Only root may change the owner of a file.
    let owner = if rustix::process::geteuid().is_root() { "1000:1000" } else { "-" };
    Ok(format!(
        r#"# Cluster {NAME}, file system {file_system_id}, base {base}. Paste this to serve over it:
export AWS_ENDPOINT_URL={endpoint}
export AWS_REGION="${{AWS_REGION:-${{AWS_DEFAULT_REGION:-us-east-1}}}}"
export AWS_DEFAULT_REGION="$AWS_REGION"
export AWS_ACCESS_KEY_ID="${{AWS_ACCESS_KEY_ID:-test}}" AWS_SECRET_ACCESS_KEY="${{AWS_SECRET_ACCESS_KEY:-test}}"
export PROVISIONER_SSM_PATH={SSM_PATH}
export PROVISIONER_EFS_ROOT="${{PROVISIONER_EFS_ROOT:-.dev/{file_system_id}}}"
export PROVISIONER_OWNER="${{PROVISIONER_OWNER:-{owner}}}"
export PROVISIONER_TOKENS="${{PROVISIONER_TOKENS:-{TOKENS}}}"
mkdir -p "$PROVISIONER_EFS_ROOT"
"{program}" serve --initialize"#,
        program = program.display(),
    ))
}

/// Creates the seed; safe to repeat: each run registers a new revision of the base.
pub(super) async fn seed(
    aws: &Aws,
    seeder: &Seeder,
    image: &ImageRef,
    subnets: &str,
    security_groups: &str,
) -> anyhow::Result<Seeded> {
    seeder.cluster(NAME).await?;
    let file_system_id = seeder.file_system(NAME).await?;
    let base = aws.ecs.register_task_definition(&base_definition(&file_system_id, image)).await?;
    for (name, value) in [
        ("cluster", NAME),
        ("base-family", NAME),
        ("file-system-id", &file_system_id),
        ("subnets", subnets),
        ("security-groups", security_groups),
    ] {
        seeder.parameter(&format!("{SSM_PATH}/{name}"), value).await?;
    }
    Ok(Seeded { file_system_id, base: base.arn })
}

/// A base as infrastructure would deploy it.
fn base_definition(file_system_id: &str, image: &ImageRef) -> Value {
    json!({
        "family": NAME,
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "512",
        "memory": "2048",
        "executionRoleArn": "arn:aws:iam::123456789012:role/openclaw-dev-execution",
        "taskRoleArn": "arn:aws:iam::123456789012:role/openclaw-dev-task",
        "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
        "containerDefinitions": [{
            "name": "openclaw",
            "image": image.as_str(),
            "essential": true,
            "user": "1000:1000",
            "dockerLabels": {LABEL_ISOLATION: WITHOUT_ROLE},
            "environment": [
                {"name": "NODE_ENV", "value": "production"},
                // A base may set CODEX_HOME; the user's own value replaces it.
                {"name": CODEX_HOME, "value": "/home/node/.codex"}
            ],
            "portMappings": [{"containerPort": 18789, "protocol": "tcp"}],
            "mountPoints": [{"sourceVolume": "openclaw", "containerPath": "/home/node/.openclaw", "readOnly": false}],
            "healthCheck": {
                "command": ["CMD-SHELL", "node -e \"fetch('http://127.0.0.1:18789/healthz').then(r=>process.exit(r.ok?0:1),()=>process.exit(1))\""],
                "interval": 30, "timeout": 5, "retries": 3, "startPeriod": 60
            },
            "linuxParameters": {"initProcessEnabled": true},
            "stopTimeout": 30,
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {"awslogs-group": "/openclaw/dev", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "openclaw"}
            }
        }],
        "volumes": [{
            "name": "openclaw",
            "efsVolumeConfiguration": {
                "fileSystemId": file_system_id,
                "transitEncryption": "ENABLED",
                "authorizationConfig": {"iam": "ENABLED"}
            }
        }],
        "tags": [{"key": "openclaw:role", "value": "base"}]
    })
}
