//! What a self-test asks of a card: an interrupt without a cause, and frames that come back.

use crate::models::bench::frame;
use crate::models::intel_rig::{KINDS, Rig, Setup};
use drivers::DriverError;
use drivers::net::NetDevice;

#[test]
fn an_interrupt_is_raised_without_a_frame() {
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        for n in 1..4 {
            let before = rig.card().interrupts;
            assert!(rig.nic.raise_interrupt());
            assert_eq!(rig.card().interrupts, before + 1);
            rig.nic.on_interrupt();
            assert_eq!(rig.nic.stats().interrupts, n);
            assert_eq!(rig.card().interrupts, before + 1, "acknowledged");
        }
        rig.assert_traffic_flows();
    }
}

#[test]
fn frames_turn_round_until_the_next_reset() {
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        assert!(!rig.card().loops());
        assert_eq!(rig.nic.loop_back(), Ok(Some("PHY")));
        for n in 0..40 {
            let sent = rig.send(&frame(n, 60 + 36 * n as usize));
            let looped = rig.card().loops();
            assert!(looped && rig.card().deliver(sent.frame()));
            assert_eq!(rig.receive(), [sent.frame()]);
        }
        rig.nic.reset().expect("comes up");
        assert!(!rig.card().loops());
        assert_eq!(rig.card().phy & 0x5000, 0x1000, "it negotiates again");
        rig.assert_traffic_flows();
        rig.card().phy = 0;
        rig.nic.reset().expect("comes up");
        assert_eq!(rig.card().phy, 0, "nobody asked for a change");
    }
}

#[test]
fn a_phy_that_does_not_answer_is_named() {
    for kind in KINDS {
        for error in [false, true] {
            let mut setup = Setup::new(kind);
            setup.card = |card| card.faults.silent_phy = Some(false);
            let mut rig = setup.start();
            rig.card().faults.silent_phy = Some(error);
            let timeout = DriverError::Timeout("the PHY to answer");
            assert_eq!(rig.nic.loop_back(), Err(timeout));
            rig.card().faults.silent_phy = None;
            rig.nic.reset().expect("comes up");
            rig.assert_traffic_flows();
        }
    }
}

#[test]
fn a_card_that_is_gone_raises_nothing() {
    for kind in KINDS {
        let mut rig = Rig::with(kind);
        rig.card().faults.gone = true;
        rig.nic.link();
        assert!(!rig.nic.raise_interrupt());
        let timeout = DriverError::Timeout("the PHY to answer");
        assert_eq!(rig.nic.loop_back(), Err(timeout));
    }
}
