//! The agent that answers, according to the user's own configuration.

use serde_json::Value;

use super::document::{Document, Problem};

/// The agent for sessions that name none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its id, which is also the name of its directory below `agents/`.
    pub id: String,
    /// `agentDir`, if its directory is elsewhere.
    pub directory: Option<String>,
}

impl Agent {
    fn new(id: &str, entry: &Value) -> Self {
        let directory = entry["agentDir"].as_str().map(str::trim).filter(|directory| !directory.is_empty());
        Self { id: id.trim().to_ascii_lowercase(), directory: directory.map(str::to_owned) }
    }
}

/// The agent that answers; `None` if the file names none: then it is `main`.
///
/// # Errors
/// The reason why the file could not be read.
pub fn default_agent(existing: &[u8]) -> Result<Option<Agent>, &'static str> {
    of(&Document::parse(existing)?)
}

pub(super) fn of(file: &Document) -> Result<Option<Agent>, Problem> {
    let agents = file.value(&["agents"])?;
    let is_default = |entry: &Value| entry["default"] == true;
    if let Some(list) = agents["list"].as_array() {
        let chosen = list.iter().find(|entry| is_default(entry)).or_else(|| list.first());
        return Ok(chosen.and_then(|entry| Some(Agent::new(entry["id"].as_str()?, entry))));
    }
    // From 2026.9 on.
    let Some(entries) = agents["entries"].as_object() else { return Ok(None) };
    let named = agents["defaults"]["systemAgent"]["agentId"].as_str();
    let named = named.and_then(|id| Some((id, entries.get(id)?)));
    let marked = || entries.iter().find(|(_, entry)| is_default(entry)).map(|(id, entry)| (id.as_str(), entry));
    let only = || entries.iter().next().filter(|_| entries.len() == 1).map(|(id, entry)| (id.as_str(), entry));
    Ok(named.or_else(marked).or_else(only).map(|(id, entry)| Agent::new(id, entry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_that_answers_is_the_marked_or_the_first_one() {
        let found = |file: &str| default_agent(file.as_bytes()).unwrap().map(|agent| (agent.id, agent.directory));
        let agent = |id: &str| Some((id.to_owned(), None));
        for (file, expected) in [
            ("", None),
            ("{agents: {defaults: {}}}", None),
            ("{agents: {list: []}}", None),
            ("{agents: {list: [{id: 'Work '}, {id: 'main'}]}}", agent("work")),
            ("{agents: {list: [{id: 'main'}, {id: 'work', default: true}]}}", agent("work")),
            ("{agents: {entries: {work: {}}}}", agent("work")),
            ("{agents: {entries: {main: {}, work: {}}}}", None),
            ("{agents: {entries: {main: {}, work: {default: true}}}}", agent("work")),
            ("{agents: {entries: {main: {}, work: {}}, defaults: {systemAgent: {agentId: 'work'}}}}", agent("work")),
            ("{agents: {list: [{id: 'main', agentDir: '~/x'}]}}", Some(("main".to_owned(), Some("~/x".to_owned())))),
        ] {
            assert_eq!(found(file), expected, "{file}");
        }
        assert!(default_agent(b"[").is_err());
    }
}
