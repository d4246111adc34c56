//! Paths below `/_emulator`, and the health path that LocalStack's tools call.

use super::ecs::Behaviour;
use super::faults::{Fault, FaultKind};
use super::http::{Request, Response, members, unescape};
use super::{Emulator, lock, supported};
use serde_json::{Map, Value, json};
use std::time::Duration;

impl Emulator {
    pub(super) fn administer(&self, request: &Request) -> Response {
        let path = request.path();
        match (request.method.as_str(), path) {
            ("GET", "/_localstack/health") => Response::json(200, &health()),
            ("GET", "/_emulator" | "/_emulator/") => Response::json(200, &self.help()),
            ("GET", "/_emulator/calls") => Response::json(200, &self.calls_json()),
            ("DELETE", "/_emulator/calls") => {
                self.clear_calls();
                Response::json(200, &json!({}))
            }
            ("GET", "/_emulator/faults") => {
                let faults: Vec<Value> = self.faults().iter().map(|fault| json!(format!("{fault:?}"))).collect();
                Response::json(200, &json!({"faults": faults}))
            }
            ("POST", "/_emulator/faults") => answer(self.inject_json(&request.body)),
            ("DELETE", "/_emulator/faults") => {
                self.clear_faults();
                Response::json(200, &json!({}))
            }
            (method, path) => match path.strip_prefix("/_emulator/behaviours/") {
                Some(name) => answer(self.behave_json(method, &unescape(name), &request.body)),
                None => Response::json(404, &json!({"error": "unknown path; GET /_emulator lists all"})),
            },
        }
    }

    fn help(&self) -> Value {
        let chosen = lock(&self.inner.state);
        let chosen = chosen.behaviours().iter().map(|(name, behaviour)| (name.clone(), json!(behaviour.name())));
        json!({
            "paths": {
                "GET /_emulator": "this help",
                "GET, DELETE /_emulator/calls": "the calls so far, and how many had to wait for one another",
                "GET, DELETE /_emulator/faults": "the faults in force",
                "POST /_emulator/faults": {
                    "service": "optional: ecs, efs, ssm, ecr, servicequotas, sts", "action": "an action, or *",
                    "skip": "matching calls that pass first (0)", "times": "calls that are struck (1)",
                    "kind": ["Error", "ErrorAfter", "DropBefore", "DropAfter", "Delay", "Late", "Hang"],
                    "status": "for errors (500)", "code": "for errors (ServerException)", "message": "for errors",
                    "milliseconds": "for Delay and Late (1000)",
                },
                "PUT, DELETE /_emulator/behaviours/{service or family}": {"behaviour": behaviour_names()},
                "GET /_localstack/health": "as LocalStack answers",
            },
            "imagesThatMisbehave": "an image whose name contains sim- and a behaviour, such as app:sim-oom; healthy removes a choice made here, not the meaning of a name",
            "absentSubnet": "subnet-0fffffffffffffff0 does not exist; any other does",
            "behaviours": chosen.collect::<Map<String, Value>>(),
            "actions": supported(None),
        })
    }

    fn calls_json(&self) -> Value {
        let calls = self.calls();
        let list = calls.iter().map(|call| {
            json!({
                "service": call.service, "action": call.action, "mutating": call.mutating, "status": call.status,
                "code": call.code, "request": call.request,
                "startedMilliseconds": call.started.as_millis() as u64,
                "finishedMilliseconds": call.finished.as_millis() as u64,
            })
        });
        json!({"calls": list.collect::<Vec<_>>(), "roundTrips": self.round_trips()})
    }

    fn inject_json(&self, body: &[u8]) -> Result<(), String> {
        const MEMBERS: [&str; 9] =
            ["service", "action", "skip", "times", "kind", "status", "code", "message", "milliseconds"];
        let body = members(body).map_err(|error| error.message)?;
        known_members(&body, &MEMBERS)?;
        let text = |name: &str| match body.get(name).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(value) => value.as_str().map(|text| Some(text.to_owned())).ok_or(format!("{name} must be a string")),
        };
        let number = |name: &str, default: u64| match body.get(name).filter(|value| !value.is_null()) {
            None => Ok(default),
            Some(value) => value.as_u64().ok_or(format!("{name} must be a whole number")),
        };
        let (service, action) = (text("service")?, text("action")?.ok_or("action is missing")?);
        check_action(service.as_deref(), &action)?;
        let status = u16::try_from(number("status", 500)?).ok().filter(|status| (400..600).contains(status));
        let status = status.ok_or("status must be between 400 and 599")?;
        let code = text("code")?.unwrap_or_else(|| "ServerException".to_owned());
        let message = text("message")?.unwrap_or_else(|| "injected by a fault".to_owned());
        let kind = match text("kind")?.as_deref().unwrap_or("Error") {
            "Error" => FaultKind::Error { status, code, message },
            "ErrorAfter" => FaultKind::ErrorAfter { status, code, message },
            "DropBefore" => FaultKind::DropBefore,
            "DropAfter" => FaultKind::DropAfter,
            "Delay" => FaultKind::Delay(Duration::from_millis(number("milliseconds", 1000)?)),
            "Late" => FaultKind::Late(Duration::from_millis(number("milliseconds", 1000)?)),
            "Hang" => FaultKind::Hang,
            other => {
                return Err(format!(
                    "unknown kind {other}; one of Error, ErrorAfter, DropBefore, DropAfter, Delay, Late, Hang"
                ));
            }
        };
        self.inject(Fault {
            service,
            action,
            skip: number("skip", 0)? as usize,
            times: number("times", 1)? as usize,
            kind,
        });
        Ok(())
    }

    fn behave_json(&self, method: &str, name: &str, body: &[u8]) -> Result<(), String> {
        let behaviour = match method {
            "DELETE" => None,
            "PUT" => {
                let body = members(body).map_err(|error| error.message)?;
                known_members(&body, &["behaviour"])?;
                let wanted = body.get("behaviour").and_then(Value::as_str).unwrap_or_default();
                let known = Behaviour::parse(wanted);
                Some(known.ok_or_else(|| format!("behaviour must be one of {}", behaviour_names().join(", ")))?)
            }
            _ => return Err("PUT or DELETE".to_owned()),
        };
        if name.is_empty() {
            return Err("name a service or a family: /_emulator/behaviours/{service or family}".to_owned());
        }
        self.set_behaviour(name, behaviour);
        Ok(())
    }
}

/// A misspelt member would otherwise count as left out.
fn known_members(body: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    match body.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(format!("unknown member {name}; known are {}", known.join(", "))),
        None => Ok(()),
    }
}

/// A fault for an action that does not exist would never strike, and a test that uses it would pass.
fn check_action(service: Option<&str>, action: &str) -> Result<(), String> {
    let known = supported(service);
    let exists = |name: &String| name.split_once(':').is_some_and(|(_, known)| known == action);
    if known.is_empty() {
        return Err(format!(
            "unknown service {}; known are ecs, efs, ssm, ecr, servicequotas, iam, sts",
            service.unwrap_or_default()
        ));
    }
    match action == "*" || known.iter().any(exists) {
        true => Ok(()),
        false => Err(format!("unknown action {action}; GET /_emulator lists all, and * is every one")),
    }
}

fn behaviour_names() -> Vec<&'static str> {
    Behaviour::ALL.iter().map(|behaviour| behaviour.name()).collect()
}

fn answer(result: Result<(), String>) -> Response {
    match result {
        Ok(()) => Response::json(200, &json!({})),
        Err(error) => Response::json(400, &json!({"error": error})),
    }
}

fn health() -> Value {
    json!({
        "services": {"ecs": "running", "efs": "running", "ssm": "running", "ecr": "running", "iam": "running", "sts": "running", "ec2": "disabled"},
        "edition": "openclaw-provisioner",
        "version": env!("CARGO_PKG_VERSION"),
    })
}
