//! Members that AWS fills in if a registration omits them, so that a description differs from its registration. A caller
//! that compares the two must be ready for that.

use serde_json::{Map, Value, json};

/// Adds the defaults; members that were sent stay as they are.
pub(super) fn fill(members: &mut Map<String, Value>) {
    for list in ["volumes", "placementConstraints"] {
        members.entry(list).or_insert_with(|| json!([]));
    }
    let awsvpc = members.get("networkMode") == Some(&json!("awsvpc"));
    let containers = members.get_mut("containerDefinitions").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
        for list in ["portMappings", "environment", "mountPoints", "volumesFrom", "systemControls"] {
            container.entry(list).or_insert_with(|| json!([]));
        }
        container.entry("cpu").or_insert_with(|| json!(0));
        container.entry("essential").or_insert_with(|| json!(true));
        let ports = container.get_mut("portMappings").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            port.entry("protocol").or_insert_with(|| json!("tcp"));
            if let Some(number) = port.get("containerPort").cloned().filter(|_| awsvpc) {
                port.entry("hostPort").or_insert(number);
            }
        }
        let check = container.get_mut("healthCheck").and_then(Value::as_object_mut);
        if let Some(check) = check {
            for (member, value) in [("interval", 30), ("timeout", 5), ("retries", 3)] {
                check.entry(member).or_insert_with(|| json!(value));
            }
        }
    }
}
