//! Decodes an HTTP request into service, action and members, and encodes the answer.

use super::error::{ApiError, Outcome};
use super::http::{Request, Response, members, pairs};
use super::{efs, ids};
use serde_json::{Map, Value, json};

/// The wire form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Json11,
    RestJson,
    Query,
    Ec2Query,
}

/// One call, decoded.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) service: String,
    pub(crate) action: String,
    pub(crate) region: String,
    pub(crate) protocol: Protocol,
    pub(crate) input: Result<Map<String, Value>, ApiError>,
}

/// Finds the action that a request means; an unknown one gets a name too, so that the refusal can name it.
pub(crate) fn decode(request: &Request) -> Operation {
    let (region, signed_service) = credential_scope(request);
    let operation = |service: &str, action: &str, protocol, input| Operation {
        service: service.to_owned(),
        action: action.to_owned(),
        region: region.clone(),
        protocol,
        input,
    };
    if let Some(target) = request.header("x-amz-target") {
        let (prefix, action) = target.split_once('.').unwrap_or(("", target));
        let service = match prefix {
            "AmazonEC2ContainerServiceV20141113" => "ecs",
            "AmazonSSM" => "ssm",
            "AmazonEC2ContainerRegistry_V20150921" => "ecr",
            "ServiceQuotasV20190624" => "servicequotas",
            other => signed_service.as_deref().unwrap_or(other),
        };
        return operation(service, action, Protocol::Json11, members(&request.body));
    }
    if let Some(path) = request.path().strip_prefix("/2015-02-01/") {
        let (action, input) = efs::routes::decode(request, path);
        return operation("efs", &action, Protocol::RestJson, input);
    }
    let form = pairs(&String::from_utf8_lossy(&request.body));
    let action = form.iter().find(|(name, _)| name == "Action");
    let service = signed_service.as_deref().unwrap_or("unknown");
    let Some((_, action)) = action else {
        let name = format!("{} {}", request.method, request.path());
        return operation(service, &name, Protocol::RestJson, Ok(Map::new()));
    };
    let protocol = match service {
        "ec2" => Protocol::Ec2Query,
        _ => Protocol::Query,
    };
    let mut members = Map::new();
    for (name, value) in &form {
        put(&mut members, name, value);
    }
    operation(service, action, protocol, Ok(members))
}

/// Puts in what a form writes flat: `Tags.member.1.Key` is a member of the first of a list. Lists come in order (AWS query protocol).
fn put(members: &mut Map<String, Value>, name: &str, value: &str) {
    let Some((list, rest)) = name.split_once(".member.") else {
        members.insert(name.to_owned(), json!(value));
        return;
    };
    let (number, member) = rest.split_once('.').map_or((rest, None), |(number, member)| (number, Some(member)));
    let Some(items) = members.entry(list).or_insert_with(|| json!([])).as_array_mut() else { return };
    match member {
        None => items.push(json!(value)),
        Some(member) => {
            let at = number.parse::<usize>().unwrap_or(1).saturating_sub(1);
            if at >= items.len() {
                items.push(json!({}));
            }
            if let Some(item) = items.last_mut().and_then(Value::as_object_mut) {
                put(item, member, value);
            }
        }
    }
}

/// The region and service in a SigV4 `Credential=key/date/region/service/aws4_request`.
fn credential_scope(request: &Request) -> (String, Option<String>) {
    let header = request.header("authorization").unwrap_or_default();
    let scope = header.split("Credential=").nth(1).and_then(|rest| rest.split(',').next());
    let mut parts = scope.unwrap_or_default().split('/').skip(2);
    let region = parts.next().filter(|region| !region.is_empty());
    (region.unwrap_or("us-east-1").to_owned(), parts.next().map(str::to_owned))
}

/// Encodes an outcome as its protocol does.
pub(crate) fn encode(protocol: Protocol, action: &str, outcome: &Outcome) -> Response {
    match (protocol, outcome) {
        (Protocol::Json11, Ok(body)) => Response::new(200, "application/x-amz-json-1.1", body.to_string()),
        (Protocol::RestJson, Ok(Value::Null)) => Response::new(204, "application/json", String::new()),
        (Protocol::RestJson, Ok(body)) => Response::json(efs::routes::success_status(action), body),
        (Protocol::Query | Protocol::Ec2Query, Ok(body)) => Response::new(200, "text/xml", success_xml(action, body)),
        (Protocol::Query, Err(error)) => Response::new(
            error.status,
            "text/xml",
            format!(
                "<ErrorResponse><Error><Type>Sender</Type>{}</Error><RequestId>{}</RequestId></ErrorResponse>",
                error_xml(error),
                ids::request_id(),
            ),
        ),
        (Protocol::Ec2Query, Err(error)) => Response::new(
            error.status,
            "text/xml",
            format!(
                "<Response><Errors><Error>{}</Error></Errors><RequestID>{}</RequestID></Response>",
                error_xml(error),
                ids::request_id(),
            ),
        ),
        (Protocol::Json11, Err(error)) => {
            let mut body = error.extra.clone();
            body.insert("__type".into(), json!(error.code));
            body.insert("message".into(), json!(error.message));
            typed(error, "application/x-amz-json-1.1", Value::Object(body))
        }
        (Protocol::RestJson, Err(error)) => {
            let mut body = error.extra.clone();
            body.insert("ErrorCode".into(), json!(error.code));
            body.insert("Message".into(), json!(error.message));
            typed(error, "application/json", Value::Object(body))
        }
    }
}

fn typed(error: &ApiError, content_type: &str, body: Value) -> Response {
    let mut response = Response::new(error.status, content_type, body.to_string());
    response.headers.push(("x-amzn-errortype", error.code.clone()));
    response
}

fn error_xml(error: &ApiError) -> String {
    let message = error.message.replace('&', "&amp;").replace('<', "&lt;");
    format!("<Code>{}</Code><Message>{message}</Message>", error.code)
}

/// A value as XML: a list as `member` elements, but for the entries of a map.
fn xml(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let element = |(name, value): (&String, &Value)| match value {
                Value::Array(entries) if name == "entry" => {
                    entries.iter().map(|entry| format!("<entry>{}</entry>", xml(entry))).collect()
                }
                value => format!("<{name}>{}</{name}>", xml(value)),
            };
            members.iter().map(element).collect()
        }
        Value::Array(items) => items.iter().map(|item| format!("<member>{}</member>", xml(item))).collect(),
        Value::String(text) => text.replace('&', "&amp;").replace('<', "&lt;"),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

fn success_xml(action: &str, body: &Value) -> String {
    let fields = xml(body);
    format!(
        "<{action}Response><{action}Result>{fields}</{action}Result>\
         <ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{action}Response>",
        ids::request_id(),
    )
}
