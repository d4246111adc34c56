//! A proxy between a replica and AWS that damages a chosen call.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// The fault of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// 500, without an effect.
    ErrorBefore,
    /// The connection is reset, without an effect.
    ResetBefore,
    /// The connection is reset after the effect.
    ResetAfter,
    /// `ThrottlingException`, without an effect.
    Throttled,
    /// Never answered, without an effect.
    Stalled,
    /// The answer stops in the middle of its body, after the effect.
    Truncated,
    /// A read gets the answer from before the operation.
    Stale,
}

impl Trouble {
    pub const ALL: [Self; 7] = [
        Self::ErrorBefore,
        Self::ResetBefore,
        Self::ResetAfter,
        Self::Throttled,
        Self::Stalled,
        Self::Truncated,
        Self::Stale,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::ErrorBefore => "500 before",
            Self::ResetBefore => "reset before",
            Self::ResetAfter => "reset after the effect",
            Self::Throttled => "throttled",
            Self::Stalled => "stalled",
            Self::Truncated => "truncated body",
            Self::Stale => "answer from before",
        }
    }
}

/// Which calls are damaged.
#[derive(Clone, Debug)]
pub struct Plan {
    pub action: String,
    /// Number of calls of this action that pass first.
    pub skip: usize,
    /// Number of calls that are damaged after that.
    pub times: usize,
    pub trouble: Trouble,
}

#[derive(Default)]
struct State {
    plan: Option<Plan>,
    struck: usize,
    calls: Vec<String>,
    /// The answers of reads at the time when the plan was made, by request.
    before: HashMap<(String, Vec<u8>), Vec<u8>>,
    now: HashMap<(String, Vec<u8>), Vec<u8>>,
}

pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    pub fn to(aws: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, state) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(State::default())));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || pass(&client, aws, &state));
            }
        });
        Self { address, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Starts counting calls again, and damages them if there is a plan.
    pub fn arm(&self, plan: Option<Plan>) {
        let mut state = self.state();
        let before = state.now.clone();
        *state = State { plan, before, now: before_or_empty(&state.now), ..State::default() };
    }

    /// Ends the damage. Returns how many calls were damaged.
    pub fn disarm(&self) -> usize {
        let mut state = self.state();
        state.plan = None;
        state.struck
    }

    /// The actions that were called since it was armed.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }
}

fn before_or_empty(now: &HashMap<(String, Vec<u8>), Vec<u8>>) -> HashMap<(String, Vec<u8>), Vec<u8>> {
    // Enough for the repeated reads of an operation; it does not grow with the number of scenarios.
    if now.len() > 500 { HashMap::new() } else { now.clone() }
}

struct Message {
    head: String,
    body: Vec<u8>,
    bytes: Vec<u8>,
}

fn read(stream: &mut TcpStream) -> Option<Message> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    let head_ends = loop {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend(&buffer[..read]);
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_ends]).into_owned();
    let length: usize = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head_ends + length {
        let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
        bytes.extend(&buffer[..read]);
    }
    Some(Message { body: bytes[head_ends..].to_vec(), head, bytes })
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// The name of the action: in a header for ECS and SSM, from method and path for EFS.
fn action(request: &Message) -> String {
    if let Some(target) = header(&request.head, "x-amz-target") {
        return target.rsplit('.').next().unwrap_or(target).to_owned();
    }
    let mut words = request.head.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match (method, path.contains("/access-points"), path.contains("/file-systems")) {
        ("POST", true, _) => "CreateAccessPoint".to_owned(),
        ("GET", true, _) => "DescribeAccessPoints".to_owned(),
        ("DELETE", true, _) => "DeleteAccessPoint".to_owned(),
        ("GET", _, true) => "DescribeFileSystems".to_owned(),
        _ => format!("{method} {}", path.split('?').next().unwrap_or_default()),
    }
}

fn is_read(action: &str) -> bool {
    action.starts_with("Describe") || action.starts_with("List") || action.starts_with("Get")
}

fn pass(client: &TcpStream, aws: SocketAddr, state: &Mutex<State>) {
    let mut stream = client.try_clone().unwrap();
    let Some(request) = read(&mut stream) else { return };
    let action = action(&request);
    // With the path, which contains the parameters of EFS.
    let asked = request.head.lines().next().unwrap_or_default();
    let key = (format!("{action} {asked}"), request.body.clone());
    let (trouble, stale) = {
        let mut state = state.lock().unwrap();
        state.calls.push(action.clone());
        let stale = state.before.get(&key).cloned();
        let trouble = state.plan.as_mut().filter(|plan| plan.action == action).and_then(|plan| {
            if plan.skip > 0 {
                plan.skip -= 1;
                return None;
            }
            // Without an earlier answer there is no old one.
            let can = plan.trouble != Trouble::Stale || stale.is_some();
            (plan.times > 0 && can).then(|| {
                plan.times -= 1;
                plan.trouble
            })
        });
        state.struck += usize::from(trouble.is_some());
        (trouble, stale)
    };
    match trouble {
        Some(Trouble::ErrorBefore) => return say(&mut stream, 500, "ServerException", "made up"),
        Some(Trouble::Throttled) => return say(&mut stream, 400, "ThrottlingException", "Rate exceeded"),
        Some(Trouble::ResetBefore) => return drop(client.shutdown(Shutdown::Both)),
        // Until the client gives up.
        Some(Trouble::Stalled) => return while stream.read(&mut [0; 64]).is_ok_and(|read| read > 0) {},
        Some(Trouble::Stale) => return drop(stream.write_all(&stale.unwrap_or_default())),
        Some(Trouble::ResetAfter | Trouble::Truncated) | None => {}
    }
    let Some(answer) = ask(aws, &request) else { return drop(client.shutdown(Shutdown::Both)) };
    if is_read(&action) {
        state.lock().unwrap().now.insert(key, answer.clone());
    }
    match trouble {
        Some(Trouble::ResetAfter) => {}
        Some(Trouble::Truncated) => {
            let head = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
            drop(stream.write_all(&answer[..head + (answer.len() - head) / 2]));
        }
        _ => drop(stream.write_all(&answer)),
    }
    drop(client.shutdown(Shutdown::Both));
}

/// Asks AWS over a separate connection.
fn ask(aws: SocketAddr, request: &Message) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(aws).ok()?;
    let head_ends = request.bytes.len() - request.body.len();
    stream.write_all(&request.bytes[..head_ends - 2]).ok()?;
    stream.write_all(b"connection: close\r\n\r\n").ok()?;
    stream.write_all(&request.body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok().filter(|read| *read > 0)?;
    Some(answer)
}

fn say(stream: &mut TcpStream, status: u16, code: &str, message: &str) {
    let body = format!(r#"{{"__type":"{code}","message":"{message}"}}"#);
    let answer = format!(
        "HTTP/1.1 {status} -\r\nx-amzn-errortype: {code}\r\ncontent-type: application/x-amz-json-1.1\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    drop(stream.write_all(answer.as_bytes()));
}
