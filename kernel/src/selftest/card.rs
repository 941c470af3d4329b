//! The network card that was started: what it is, and what became of the interrupt that it was asked
//! for.
#![forbid(unsafe_code)]

use alloc::format;
use alloc::string::String;

use drivers::net::{DeviceInfo, InterruptMode, LinkState};

use super::Outcome;

/// A card that runs, with its link and where a device finds its first free buffer.
pub fn describe(info: &DeviceInfo, link: LinkState, buffer: u64) -> String {
    let link = match link {
        LinkState::Up { mbps: Some(mbps) } => format!("up at {mbps} Mbit/s"),
        LinkState::Up { mbps: None } => "up".into(),
        LinkState::Down => "down".into(),
    };
    let (model, location, mac) = (info.model, &info.location, info.mac);
    format!("{model} at {location}, {mac}, link {link}, buffers from {buffer:#x}")
}

/// Whether the interrupt came, `None` if the card cannot be asked for one; and whether the card would be
/// polled then.
pub fn interrupt(how: InterruptMode, came: Option<bool>, polled: bool) -> Outcome {
    match came {
        None => Outcome::Skip("this card raises none for no reason".into()),
        Some(true) => Outcome::Pass(format!("it comes ({how:?})")),
        Some(false) if polled => {
            let text = format!("it does not come ({how:?}); the card would be polled every ms");
            Outcome::Fail(text)
        }
        Some(false) => Outcome::Fail(format!("it does not come ({how:?})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tests::nic::cabled;

    #[test]
    fn a_card_is_told_with_its_link_and_where_its_buffers_are() {
        let (nic, _, _) = cabled();
        let mac = nic.info().mac;
        for (link, text) in [
            (LinkState::Up { mbps: Some(100) }, "up at 100 Mbit/s"),
            (LinkState::Up { mbps: None }, "up"),
            (LinkState::Down, "down"),
        ] {
            let expected = format!("test at nowhere, {mac}, link {text}, buffers from 0x100000000");
            assert_eq!(describe(nic.info(), link, 1 << 32), expected);
        }
    }

    #[test]
    fn an_interrupt_that_does_not_come_fails_and_one_that_cannot_is_skipped() {
        let (line, msix) = (InterruptMode::Line, InterruptMode::MsiX(2));
        for polled in [false, true] {
            let came = interrupt(msix, Some(true), polled);
            assert_eq!(came, Outcome::Pass("it comes (MsiX(2))".into()));
            let cannot = interrupt(line, None, polled);
            assert!(matches!(cannot, Outcome::Skip(_)), "{cannot}");
            let Outcome::Fail(why) = interrupt(line, Some(false), polled) else {
                panic!("it did not come");
            };
            assert!(why.starts_with("it does not come (Line)"), "{why}");
            assert_eq!(why.contains("polled"), polled);
        }
    }
}
