//! The matrix: who does what, and with whom each is compared.
#![forbid(unsafe_code)]

use super::request::Case;

/// Objects at once.
pub(super) const BULKS: [usize; 5] = [1, 8, 32, 64, 256];

/// Which process a contender lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// This project's worker.
    Own,
    /// `peers/dpdk.c`.
    Dpdk,
}

/// Who is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contender {
    /// The word in requests.
    pub(super) word: &'static str,
    /// The name for people.
    pub(super) name: &'static str,
    /// Where it runs.
    pub(super) home: Home,
    /// Has per-core caches that can be turned off.
    pub(super) caches: bool,
}

const fn own(word: &'static str, name: &'static str) -> Contender {
    Contender {
        word,
        name,
        home: Home::Own,
        caches: true,
    }
}

const fn plain(word: &'static str, name: &'static str) -> Contender {
    Contender {
        caches: false,
        ..own(word, name)
    }
}

const REGULAR: Contender = own("regular", "pbufpool regular");
const ON_DEMAND: Contender = own("on-demand", "pbufpool on-demand");
const REGULAR_QUEUE: Contender = own("regular-queue", "pbufpool regular, PacketQueue");
const ON_DEMAND_QUEUE: Contender = own("on-demand-queue", "pbufpool on-demand, PacketQueue");
const SINGLE_CLONES: Contender = own("single-clones", "pbufpool on-demand, one call a clone");
const WHOLE_BURSTS: Contender = own("whole-bursts", "pbufpool regular, whole bursts");
const DEFAULT_SIZE: Contender = plain("default-size", "pbufpool regular, default magazines");
const BUFFER: Contender = own("buffer", "pbufpool buffer");
const PKTMBUF: Contender = Contender {
    home: Home::Dpdk,
    ..own("pktmbuf", "DPDK rte_pktmbuf")
};
const PKTMBUF_4K: Contender = Contender {
    home: Home::Dpdk,
    ..own("pktmbuf-4k", "DPDK rte_pktmbuf, 4 KiB pages")
};
const MEMPOOL: Contender = Contender {
    home: Home::Dpdk,
    ..own("mempool", "DPDK rte_mempool")
};
const CHAIN_CALL: Contender = Contender {
    home: Home::Dpdk,
    ..own("chain-call", "DPDK rte_pktmbuf_chain")
};
const PLAIN: [Contender; 5] = [
    plain("crossbeam", "crossbeam ArrayQueue"),
    plain("heapless", "heapless pool"),
    plain("object-pool", "object-pool"),
    plain("malloc", "glibc malloc"),
    plain("mimalloc", "mimalloc"),
];

/// Who takes part in `case`; the first is ours, which the aim speaks of.
pub(super) fn contenders(case: Case) -> Vec<Contender> {
    let mut list = match case {
        Case::Alloc => vec![
            REGULAR,
            REGULAR_QUEUE,
            ON_DEMAND,
            ON_DEMAND_QUEUE,
            DEFAULT_SIZE,
            PKTMBUF,
            PKTMBUF_4K,
        ],
        Case::Chain => vec![ON_DEMAND, ON_DEMAND_QUEUE, PKTMBUF, PKTMBUF_4K, CHAIN_CALL],
        Case::Clone => vec![ON_DEMAND, SINGLE_CLONES, PKTMBUF, PKTMBUF_4K],
        Case::OneWay | Case::BothWays => vec![
            REGULAR,
            REGULAR_QUEUE,
            WHOLE_BURSTS,
            ON_DEMAND,
            DEFAULT_SIZE,
            PKTMBUF,
            PKTMBUF_4K,
            MEMPOOL,
        ],
        Case::Buffer => vec![BUFFER, MEMPOOL],
    };
    if matches!(case, Case::OneWay | Case::BothWays | Case::Buffer) {
        list.extend(PLAIN);
    }
    list
}

/// Whether `case` is compared with this contender; if there are two, with the faster.
pub(super) fn is_reference(case: Case, contender: &Contender) -> bool {
    match case {
        Case::Buffer => contender.word == MEMPOOL.word,
        _ => [PKTMBUF.word, PKTMBUF_4K.word].contains(&contender.word),
    }
}

/// The greatest ratio aimed at, ours to the reference's, at a bulk of [`AIM_BULK`] with
/// magazines.
pub(super) fn aim(case: Case) -> f64 {
    match case {
        Case::Alloc | Case::Chain | Case::Clone => 0.5,
        Case::OneWay | Case::BothWays => 0.7,
        Case::Buffer => 1.0,
    }
}

/// Whether `contender` is one of ours with the peer's cache size: one that an aim is for.
pub(super) fn is_ours(contender: &Contender) -> bool {
    contender.home == Home::Own && contender.caches
}

/// The bulk that aims speak of.
pub(super) const AIM_BULK: usize = 32;
