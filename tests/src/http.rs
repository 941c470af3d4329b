//! HTTP clients: real `curl`, and requests written by hand for what `curl` would not send.
#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::clients::tcp;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header lines, without the status line.
    pub headers: Vec<String>,
    /// Body.
    pub body: String,
}

impl Response {
    /// The value of header `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// Fetches `url` with `curl` and further `options` (words).
pub fn curl(url: &str, options: &str) -> Result<Response> {
    let mut command = Command::new("curl");
    command.args(["-sS", "-i", "--noproxy", "*", "--max-time", "10"]);
    let output = command.args(options.split_whitespace()).arg(url).output();
    let output = output.context("running `curl`")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "curl {url}: {}", errors.trim());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    parse(&text).with_context(|| format!("curl {url} printed: {text}"))
}

/// Fails unless `curl` gets `url` with status 200; returns the body.
pub fn must_get(url: &str) -> Result<String> {
    let response = curl(url, "")?;
    ensure!(
        response.status == 200,
        "GET {url}: status {}",
        response.status
    );
    Ok(response.body)
}

/// Reads one response: head, empty line, body.
pub fn parse(text: &str) -> Option<Response> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status_line = lines.next()?;
    let mut words = status_line.split(' ');
    if !words.next()?.starts_with("HTTP/1.") {
        return None;
    }
    let status = words.next()?.parse().ok()?;
    Some(Response {
        status,
        headers: lines.map(str::to_owned).collect(),
        body: body.to_owned(),
    })
}

/// Reads all responses of one connection, each with its own length.
pub fn parse_all(mut text: &str) -> Option<Vec<Response>> {
    let mut responses = Vec::new();
    while !text.is_empty() {
        let mut response = parse(text)?;
        let head = text.split_once("\r\n\r\n")?.0.len() + 4;
        let length: usize = response.header("content-length")?.parse().ok()?;
        response.body = text.get(head..head + length)?.to_owned();
        text = &text[head + length..];
        responses.push(response);
    }
    Some(responses)
}

/// Sends `bytes` on a new connection and returns all that comes back until the server closes
/// it (or resets it, as a server may that has had enough of its client).
pub fn send_raw(target: SocketAddr, bytes: &[u8]) -> Result<String> {
    let mut stream = tcp(target)?;
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => {
            Err(error).context("waiting for the server to close")
        }
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelined_responses_are_told_apart_by_their_lengths() {
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi\
                    HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
        let all = parse_all(text).unwrap();
        assert_eq!(all.iter().map(|r| r.status).collect::<Vec<_>>(), [200, 404]);
        assert_eq!(all[0].body, "hi");
        assert_eq!(
            parse_all("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi"),
            None
        );
        assert_eq!(parse_all("SMTP\r\n\r\n"), None);
    }
}
