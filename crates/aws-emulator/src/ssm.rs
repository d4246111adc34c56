//! SSM Parameter Store.

use super::error::{ApiError, Outcome};
use super::here::{Action, Here};
use super::ids::arn;
use super::input::Input;
use super::paging::{Paging, page};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const ACTIONS: &[Action<Ssm>] = &[
    ("PutParameter", put),
    ("GetParameter", get),
    ("GetParameters", get_many),
    ("GetParametersByPath", get_by_path),
    ("DeleteParameter", delete),
];

/// A region's state of Parameter Store.
pub(crate) struct Ssm {
    pub(crate) here: Here,
    parameters: BTreeMap<String, Parameter>,
}

impl Ssm {
    pub(crate) fn new(here: Here) -> Self {
        Self { here, parameters: BTreeMap::new() }
    }
}

/// A parameter's newest version.
struct Parameter {
    value: String,
    kind: String,
    version: u64,
    modified: Duration,
}

fn put(ssm: &mut Ssm, input: Input<'_>) -> Outcome {
    let name = input.required("Name")?;
    let value = input.required("Value")?;
    if value.len() > 4096 {
        return Err(ApiError::bad(
            "ValidationException",
            "Standard tier parameters support a maximum parameter value of 4096 characters.",
        ));
    }
    let old = ssm.parameters.get(name);
    if old.is_some() && !input.flag("Overwrite") {
        return Err(ApiError::bad(
            "ParameterAlreadyExists",
            "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
        ));
    }
    let kind = match (input.text("Type"), old) {
        (Some(kind), _) => kind.to_owned(),
        (None, Some(old)) => old.kind.clone(),
        (None, None) => {
            return Err(input.refuse("A parameter type is required when you create a parameter."));
        }
    };
    let version = old.map_or(1, |old| old.version + 1);
    let parameter = Parameter { value: value.to_owned(), kind, version, modified: ssm.here.now };
    ssm.parameters.insert(name.to_owned(), parameter);
    Ok(json!({"Version": version, "Tier": "Standard"}))
}

fn get(ssm: &mut Ssm, input: Input<'_>) -> Outcome {
    let name = bare_name(input.required("Name")?);
    match ssm.parameters.get(name) {
        Some(parameter) => Ok(json!({"Parameter": view(ssm, name, parameter, input)})),
        None => Err(not_found(name)),
    }
}

fn get_many(ssm: &mut Ssm, input: Input<'_>) -> Outcome {
    let names = input.texts("Names");
    if names.is_empty() || names.len() > 10 {
        return Err(input.refuse("Names must have 1 to 10 elements."));
    }
    let (mut found, mut invalid) = (Vec::new(), Vec::new());
    for name in names {
        match ssm.parameters.get(bare_name(name)) {
            Some(parameter) => found.push(view(ssm, bare_name(name), parameter, input)),
            None => invalid.push(name),
        }
    }
    Ok(json!({"Parameters": found, "InvalidParameters": invalid}))
}

fn get_by_path(ssm: &mut Ssm, input: Input<'_>) -> Outcome {
    let prefix = format!("{}/", input.required("Path")?.trim_end_matches('/'));
    let size = input.integer("MaxResults").unwrap_or(10);
    if !(1..=10).contains(&size) {
        return Err(input.refuse("MaxResults must be between 1 and 10."));
    }
    let matching = ssm.parameters.iter().filter(|(name, _)| {
        name.strip_prefix(&prefix).is_some_and(|rest| input.flag("Recursive") || !rest.contains('/'))
    });
    let items = matching.map(|(name, parameter)| (name.clone(), view(ssm, name, parameter, input))).collect();
    let paging = Paging { token: input.text("NextToken"), size: size as usize, descending: false };
    let (parameters, next) = page(items, &paging)?;
    Ok(json!({"Parameters": parameters, "NextToken": next}))
}

fn delete(ssm: &mut Ssm, input: Input<'_>) -> Outcome {
    let name = input.required("Name")?;
    ssm.parameters.remove(name).map(|_| json!({})).ok_or_else(|| not_found(name))
}

/// A SecureString shows its value only if the caller asks for decryption.
fn view(ssm: &Ssm, name: &str, parameter: &Parameter, input: Input<'_>) -> Value {
    let hidden = parameter.kind == "SecureString" && !input.flag("WithDecryption");
    let value = match hidden {
        true => STANDARD.encode(Sha256::digest(parameter.value.as_bytes())),
        false => parameter.value.clone(),
    };
    json!({
        "Name": name, "Type": parameter.kind, "Value": value, "Version": parameter.version, "DataType": "text",
        "LastModifiedDate": ssm.here.epoch(parameter.modified),
        "ARN": arn("ssm", &ssm.here.name, &format!("parameter/{}", name.trim_start_matches('/'))),
    })
}

/// A parameter may be named by its ARN.
fn bare_name(reference: &str) -> &str {
    match reference.strip_prefix("arn:").and_then(|arn| arn.split_once(":parameter")) {
        Some((_, name)) => name,
        None => reference,
    }
}

fn not_found(name: &str) -> ApiError {
    ApiError::bad("ParameterNotFound", format!("Parameter {name} not found."))
}
