//! HTTP/1.0 and 1.1 (RFC 9112), TCP port 80: status page, `/metrics`, 404 otherwise.
//!
//! A connection reads a request head, answers it, and goes on with the next one if the client
//! may keep the connection. Heads are bounded; what does not parse, is too long or takes too
//! long gets an error and the connection ends. Bodies are not read: a request that announces one
//! is answered and its connection closed.
#![forbid(unsafe_code)]

mod page;
mod request;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};

use super::{Context, Next, TcpHandler, TcpService, Traffic, Volume};
pub use page::KeptPage;
use request::{Head, Parsed, Request};

/// How long a client may take to send a request, or keep a connection idle.
const PATIENCE: Duration = Duration::from_secs(15);

/// The HTTP service.
pub(super) struct Http;

impl TcpService for Http {
    fn port(&self) -> u16 {
        80
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            receive: Volume::Little,
            send: Volume::Medium,
        }
    }

    fn accept(&mut self) -> Box<dyn TcpHandler> {
        Box::new(Connection::default())
    }
}

/// The body of an answer.
enum Body {
    /// Made for this answer.
    Text(String),
    /// Shared with others.
    Page(Arc<str>),
}

#[derive(Default)]
struct Connection {
    head: Head,
    /// The answer being sent: its head, and its body unless that is a page …
    answer: Vec<u8>,
    /// … which follows.
    page: Option<Arc<str>>,
    /// Bytes of both that are queued.
    sent: usize,
    /// This answer is the last one.
    last: bool,
    deadline: Option<Instant>,
}

impl TcpHandler for Connection {
    fn turn(&mut self, socket: &mut tcp::Socket<'static>, cx: &Context<'_>) -> Next {
        loop {
            if !self.send(socket) {
                return Next::Wait; // the peer's acknowledgements bring the next turn
            }
            if self.last {
                return Next::Close;
            }
            match self.head.read(socket) {
                Parsed::Request(request) => self.answer(&request, cx),
                Parsed::Bad(status) => self.refuse(status, cx),
                Parsed::More if !socket.may_recv() => return Next::Close,
                Parsed::More => return self.wait(cx),
            }
            self.deadline = None;
        }
    }
}

impl Connection {
    /// Waits for the rest of a request, but not for ever.
    fn wait(&mut self, cx: &Context<'_>) -> Next {
        let deadline = *self.deadline.get_or_insert(cx.now + PATIENCE);
        if cx.now < deadline {
            return Next::WaitUntil(deadline);
        }
        if self.head.is_empty() {
            return Next::Close;
        }
        self.refuse("408 Request Timeout", cx);
        // What fits is sent, with the end of the connection behind it.
        Next::WaitUntil(cx.now)
    }

    /// Queues what is left of the answer. Returns whether all of it is queued.
    fn send(&mut self, socket: &mut tcp::Socket<'static>) -> bool {
        let page = self.page.as_deref().unwrap_or("").as_bytes();
        let whole = self.answer.len() + page.len();
        while self.sent < whole {
            let rest = match self.sent.checked_sub(self.answer.len()) {
                None => &self.answer[self.sent..],
                Some(from) => &page[from..],
            };
            match socket.send_slice(rest) {
                Ok(0) => return false,
                Ok(len) => self.sent += len,
                // The peer is gone; there is nobody to send to.
                Err(_) => (self.sent, self.last) = (whole, true),
            }
        }
        true
    }

    fn answer(&mut self, request: &Request, cx: &Context<'_>) {
        let (status, kind, body) = match (request.method_known, request.path.as_str()) {
            (false, _) => (
                "405 Method Not Allowed",
                page::TEXT,
                Body::Text(page::plain("405 only GET and HEAD")),
            ),
            (true, "/") => ("200 OK", page::HTML, Body::Page(page::status(cx.status))),
            (true, "/metrics") => (
                "200 OK",
                page::METRICS,
                Body::Text(page::metrics(cx.status)),
            ),
            (true, _) => (
                "404 Not Found",
                page::TEXT,
                Body::Text(page::plain("404 try / or /metrics")),
            ),
        };
        self.queue(status, kind, body, request.keep, request.head_only, cx);
    }

    fn refuse(&mut self, status: &'static str, cx: &Context<'_>) {
        let body = Body::Text(page::plain(status));
        self.queue(status, page::TEXT, body, false, false, cx);
    }

    fn queue(
        &mut self,
        status: &str,
        kind: &str,
        body: Body,
        keep: bool,
        head_only: bool,
        cx: &Context<'_>,
    ) {
        let services = &cx.status.services;
        let count = if status.starts_with("200") {
            &services.http_ok
        } else {
            &services.http_refused
        };
        count.set(count.get() + 1);
        let length = match &body {
            Body::Text(text) => text.len(),
            Body::Page(page) => page.len(),
        };
        let own = if matches!(body, Body::Text(_)) {
            length
        } else {
            0
        };
        let mut text = String::with_capacity(own + 192);
        for part in [
            "HTTP/1.1 ",
            status,
            "\r\nServer: Millrace\r\nContent-Type: ",
            kind,
        ] {
            text.push_str(part);
        }
        text.push_str("\r\nContent-Length: ");
        page::push_number(&mut text, length as u64);
        text.push_str(if keep {
            "\r\nConnection: keep-alive\r\n"
        } else {
            "\r\nConnection: close\r\n"
        });
        if status.starts_with("405") {
            text.push_str("Allow: GET, HEAD\r\n");
        }
        text.push_str("\r\n");
        self.page = None;
        match body {
            _ if head_only => {}
            Body::Text(body) => text.push_str(&body),
            Body::Page(page) => self.page = Some(page),
        }
        self.answer = text.into_bytes();
        self.sent = 0;
        self.last = !keep;
    }
}
