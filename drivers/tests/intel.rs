//! The driver of Intel's gigabit cards on a model of them: start, traffic, sleep, offloads, hostile
//! cards, requests, and what is found on PCI.

mod intel {
    mod exchange;
    mod hostile;
    mod igb;
    mod offload;
    mod pairs;
    mod pci;
    mod requests;
    mod self_test;
    mod sleep;
    mod start;
    mod vlan;
}
mod models;

/// For the models of virtio.
#[allow(dead_code, reason = "for the models")]
const PACKED: bool = false;

/// Not the ports of legacy devices.
const LEGACY: bool = false;

/// Their devices complete in any order.
#[allow(dead_code, reason = "for the models")]
const IN_ORDER: bool = false;
