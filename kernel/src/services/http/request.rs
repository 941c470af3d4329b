//! Reading a request head: bytes from the socket until the empty line, parsed by `httparse`.
#![forbid(unsafe_code)]

use alloc::vec::Vec;
use core::mem::MaybeUninit;

use smoltcp::socket::tcp;

/// Longest request head.
const HEAD: usize = 2048;
/// Most header fields.
const FIELDS: usize = 48;
/// Longest path kept; no page has a longer one.
const PATH: usize = 64;

/// What of a request matters here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// GET or HEAD.
    pub(super) method_known: bool,
    /// HEAD.
    pub(super) head_only: bool,
    /// The path without its query, cut to a length that no page has.
    pub(super) path: heapless::String<PATH>,
    /// The connection may be kept.
    pub(super) keep: bool,
}

/// The outcome of reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A whole head.
    Request(Request),
    /// Not a request; the status to answer with.
    Bad(&'static str),
    /// Not all of it is here yet.
    More,
}

/// A head being collected; most come whole and are read where they lie.
#[derive(Default)]
pub(super) struct Head {
    bytes: Vec<u8>,
}

impl Head {
    /// Whether nothing of a request has come.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes what the socket has, up to the end of one head.
    pub(super) fn read(&mut self, socket: &mut tcp::Socket<'static>) -> Parsed {
        while socket.can_recv() {
            // Bytes behind the head stay in the socket: they are the next request's.
            let outcome = socket.recv(|data| {
                let before = self.bytes.len();
                let came = &data[..data.len().min(HEAD - before)];
                if before > 0 {
                    self.bytes.extend_from_slice(came);
                }
                let all = if before > 0 { &self.bytes } else { came };
                match parse(all) {
                    Some((len, parsed)) => {
                        (len.saturating_sub(before).min(came.len()), Some(parsed))
                    }
                    None => {
                        if before == 0 {
                            self.bytes.reserve_exact(HEAD);
                            self.bytes.extend_from_slice(came);
                        }
                        (came.len(), None)
                    }
                }
            });
            match outcome {
                Ok(Some(parsed)) => {
                    self.bytes.clear();
                    return parsed;
                }
                Ok(None) => {}
                Err(_) => break,
            }
        }
        Parsed::More
    }
}

/// The head's length and what it says, once it is whole or cannot become so.
fn parse(head: &[u8]) -> Option<(usize, Parsed)> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut fields) {
        Ok(httparse::Status::Complete(len)) => Some((len, understand(&request))),
        Ok(httparse::Status::Partial) if head.len() >= HEAD => {
            Some((HEAD, Parsed::Bad("431 Request Header Fields Too Large")))
        }
        Ok(httparse::Status::Partial) => None,
        Err(httparse::Error::TooManyHeaders) => {
            Some((HEAD, Parsed::Bad("431 Request Header Fields Too Large")))
        }
        Err(httparse::Error::Version) => {
            Some((HEAD, Parsed::Bad("505 HTTP Version Not Supported")))
        }
        Err(_) => Some((HEAD, Parsed::Bad("400 Bad Request"))),
    }
}

fn understand(request: &httparse::Request<'_, '_>) -> Parsed {
    let method = request.method.unwrap_or_default();
    let target = request.path.unwrap_or_default();
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let cut = path
        .char_indices()
        .map(|(at, _)| at)
        .find(|at| *at >= PATH)
        .unwrap_or(path.len());
    let newer = request.version == Some(1);
    let fields = Fields::of(request.headers);
    // RFC 9112, 3.2.
    if fields.hosts > 1 || (newer && fields.hosts == 0) {
        return Parsed::Bad("400 Bad Request");
    }
    let keep = (newer || fields.keep_alive) && !fields.close;
    Parsed::Request(Request {
        method_known: matches!(method, "GET" | "HEAD"),
        head_only: method == "HEAD",
        path: heapless::String::try_from(path.get(..cut).unwrap_or_default()).unwrap_or_default(),
        keep: keep && !fields.body,
    })
}

/// What the header fields say, as far as it matters.
#[derive(Default)]
struct Fields {
    hosts: usize,
    /// A body follows, or may follow: none is read here, so nothing behind it can be understood.
    body: bool,
    close: bool,
    keep_alive: bool,
}

impl Fields {
    fn of(all: &[httparse::Header<'_>]) -> Self {
        let mut fields = Self::default();
        for field in all {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            match field.name.len() {
                4 if is("host") => fields.hosts += 1,
                10 if is("connection") => fields.connection(field.value),
                14 if is("content-length") => fields.body |= field.value != b"0",
                17 if is("transfer-encoding") => fields.body = true,
                _ => {}
            }
        }
        fields
    }

    /// A list of words (RFC 9110, 7.6.1).
    fn connection(&mut self, words: &[u8]) {
        for word in words.split(|byte| *byte == b',') {
            let word = word.trim_ascii();
            self.close |= word.eq_ignore_ascii_case(b"close");
            self.keep_alive |= word.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(usize, Parsed)> {
        super::parse(text.as_bytes())
    }

    fn request(text: &str) -> Request {
        match parse(text) {
            Some((_, Parsed::Request(request))) => request,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn versions_decide_whether_a_connection_is_kept() {
        assert!(!request("GET / HTTP/1.0\r\n\r\n").keep);
        assert!(request("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").keep);
        assert!(request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").keep);
        assert!(!request("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").keep);
        assert!(!request("GET / HTTP/1.1\r\nHost: a\r\nConnection: TE ,Close\r\n\r\n").keep);
        assert!(request("GET / HTTP/1.0\r\nConnection: te, Keep-Alive \r\n\r\n").keep);
        let both = "GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n";
        assert!(!request(both).keep);
    }

    #[test]
    fn a_body_ends_the_connection() {
        assert!(!request("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").keep);
        assert!(!request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").method_known);
        let two = "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n";
        assert!(!request(two).keep);
        assert!(request("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").keep);
        assert!(!request("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n").keep);
    }

    #[test]
    fn the_query_is_no_part_of_the_path() {
        assert_eq!(
            request("GET /metrics?x=1 HTTP/1.0\r\n\r\n").path,
            "/metrics"
        );
        let long = std::format!("GET /{} HTTP/1.0\r\n\r\n", "a".repeat(500));
        assert_eq!(request(&long).path.len(), PATH);
    }

    #[test]
    fn what_is_not_a_request_gets_a_status() {
        for (text, status) in [
            ("hello world nonsense\r\n\r\n", "505"),
            ("GET / HTTP/1.1\r\n\r\n", "400"),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
            ("GET / HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n", "400"),
            ("GET / HTTP/2.0\r\n\r\n", "505"),
            ("\x01\x02\x03\r\n\r\n", "400"),
        ] {
            match parse(text) {
                Some((_, Parsed::Bad(found))) => {
                    assert!(found.starts_with(status), "{text} {found}")
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        assert_eq!(parse("GET / HT"), None);
        assert!(matches!(
            parse(&"a".repeat(HEAD)),
            Some((_, Parsed::Bad(_)))
        ));
    }
}
