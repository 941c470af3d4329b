//! The pages: status for people, `/metrics` for Prometheus.
#![forbid(unsafe_code)]

use alloc::string::String;
use alloc::sync::Arc;
use core::cell::RefCell;
use core::fmt::{self, Write};

use drivers::net::LinkState;
use smoltcp::time::{Duration, Instant};

use crate::net::{Kind, PoolsStats, Status};

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";
/// Prometheus' text format (exposition format 0.0.4).
pub(super) const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:50em;margin:2em auto;padding:0 1em;\
color:#1d2b36}h1{font-size:1.5em;margin:0}h2{font-size:1.05em;margin:1.6em 0 .3em}table{border-collapse:\
collapse;width:100%}td{padding:.12em .6em .12em 0;border-bottom:1px solid #e4e9ec}td+td{text-align:right;\
font-variant-numeric:tabular-nums}meter{width:100%;height:1em}p{margin:.2em 0}.dim{color:#6b7a85}";

/// One line of plain text.
pub(super) fn plain(text: &str) -> String {
    let mut line = String::from(text);
    line.push('\n');
    line
}

/// How long a status page is sent again before another one is made: nobody reads faster.
const FRESH: Duration = Duration::from_millis(100);

/// The status page that was made last.
#[derive(Debug, Default)]
pub struct KeptPage(RefCell<Option<(Instant, Arc<str>)>>);

/// The status page, as it is now or was a moment ago.
pub(super) fn status(status: &Status<'_>) -> Arc<str> {
    let kept = &status.services.page.0;
    let is_fresh = |made: Instant| (made..made + FRESH).contains(&status.now);
    let (made, page) = kept
        .take()
        .filter(|(made, _)| is_fresh(*made))
        .unwrap_or_else(|| (status.now, make_status(status).into()));
    kept.replace(Some((made, page.clone())));
    page
}

fn make_status(status: &Status<'_>) -> String {
    let mut page = String::with_capacity(6 * 1024);
    // Writing to a `String` does not fail.
    let _ = write_status(&mut page, status);
    page
}

/// Appends a number in decimal. The formatter would do that too, at ten times the price.
pub(super) fn push_number(out: &mut String, mut value: u64) {
    let mut digits = [0; 20]; // as many as 2^64 has
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend(digits[first..].iter().map(|digit| char::from(*digit)));
}

fn write_status(out: &mut String, status: &Status<'_>) -> fmt::Result {
    let info = status.link.nic().info();
    write!(
        out,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Millrace</title><style>{STYLE}</style><h1>Millrace</h1>\
         <p class=dim>up {} s · {} at {} · {} · MTU {}</p>",
        status.now.secs(),
        info.model,
        info.location,
        info.mac,
        info.mtu,
    )?;
    write!(out, "<h2>Addresses</h2><table>")?;
    for cidr in status.iface.ip_addrs() {
        write!(out, "<tr><td>address<td>{cidr}")?;
    }
    if let Some(gateway) = status.addresses.gateway {
        write!(out, "<tr><td>gateway<td>{gateway}")?;
    }
    for server in &status.addresses.resolvers {
        write!(out, "<tr><td>name server<td>{server}")?;
    }
    write!(out, "</table><h2>Services</h2><p>")?;
    for name in status.served.names() {
        write!(out, "{name} ")?;
    }
    let link = match status.link.state() {
        LinkState::Down => "down",
        LinkState::Up { .. } => "up",
    };
    write!(out, "</p><h2>NIC</h2><p>link {link}")?;
    if let LinkState::Up { mbps: Some(mbps) } = status.link.state() {
        write!(out, ", {mbps} Mbit/s")?;
    }
    write!(
        out,
        " · {} queue pair{} · {}</p>",
        info.queue_pairs,
        if info.queue_pairs == 1 { "" } else { "s" },
        info.features
    )?;
    let rates = status.interrupts_per_second();
    write!(
        out,
        "<p>{} interrupts a second from devices, {} from the timer</p>",
        rates.device, rates.timer
    )?;
    let pools = status.link.pools().stats();
    write_pool(out, &pools)?;
    write!(
        out,
        "<h2>Counters</h2><p class=dim>those that are not zero; all of them at \
                 <a href=/metrics>/metrics</a></p><table>"
    )?;
    status.metrics_with(&pools, &mut |metric| {
        if metric.value != 0 {
            for part in ["<tr><td>", metric.group, metric.name, "<td>"] {
                out.push_str(part);
            }
            push_number(out, metric.value);
        }
        Ok(())
    })?;
    out.write_str("</table></html>\n")
}

fn write_pool(out: &mut String, pool: &PoolsStats) -> fmt::Result {
    write!(
        out,
        "<h2>Packet pool</h2><meter min=0 max={max} value={used}></meter>\
         <p>{used} of {max} packets in use</p>",
        max = pool.packets,
        used = pool.in_use,
    )
}

/// All metrics in Prometheus' text format.
pub(super) fn metrics(status: &Status<'_>) -> String {
    let mut text = String::with_capacity(8 * 1024);
    let info = status.link.nic().info();
    // Writing to a `String` does not fail.
    let _ = writeln!(
        text,
        "# TYPE millrace_nic_info gauge\nmillrace_nic_info{{model=\"{}\",location=\"{}\",mac=\"{}\",features=\"{}\"}} 1",
        info.model, info.location, info.mac, info.features
    );
    let _ = status.metrics(&mut |metric| {
        let (kind, suffix) = match metric.kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Gauge => ("gauge", ""),
        };
        let (group, name) = (metric.group, metric.name);
        writeln!(
            text,
            "# TYPE millrace_{group}{name}{suffix} {kind}\nmillrace_{group}{name}{suffix} {}",
            metric.value
        )
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn numbers_are_written_as_the_formatter_does() {
        for value in [0, 7, 10, 99, 100, 1_234_567, u64::MAX] {
            let mut text = String::new();
            push_number(&mut text, value);
            assert_eq!(text, value.to_string());
        }
    }
}
