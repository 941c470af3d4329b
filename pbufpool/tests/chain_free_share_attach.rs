//! Behaviours 53 to 75: chains, frees, clones, attachments, completion, drops, lone objects.

mod common;
use common::{Rig, fill, on_demand, regular};
use pbufpool::drop_tap::{DropInfo, DropReason, DropTap, register};
use pbufpool::test_utils::{HeapDma, Threads};
use pbufpool::{
    AllocError, AppendReason, Attachment, BurstStatus, CloneError, Completion, CompletionEvent,
    CompletionSink, Direction, FinalizeError, Foreign, Leaf, Packet, PacketQueue, PoolConfig,
    SubObjects,
};
use std::sync::{Arc, Mutex, MutexGuard};

/// The options, flow and completion caches exist once: tests that need them take turns.
fn sub_objects() -> (MutexGuard<'static, ()>, SubObjects) {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(|poison| poison.into_inner());
    let subs =
        SubObjects::init(4096, HeapDma::leaked(), Threads::leaked(1)).expect("one at a time");
    (turn, subs)
}

/// Taps are global: tests that register one take turns.
static TAPS: Mutex<()> = Mutex::new(());

#[test]
fn b53_append_beyond_max_frags_is_refused_and_always_goes_to_the_tail() {
    let rig = Rig::new(on_demand(32));
    let mut packet = rig.pool.alloc_buflets(6).unwrap();
    let error = packet
        .append(rig.pool.alloc_buflets(3).unwrap())
        .unwrap_err();
    assert_eq!(error.reason, AppendReason::TooLong { buflets: 9, max: 8 });
    assert_eq!((packet.buflet_count(), error.packet.buflet_count()), (6, 3));
    for i in 0..2 {
        let buflet = rig.pool.alloc_buflet(i == 1).unwrap();
        let buffer = buflet.span().base_dma();
        packet.append_buflet(buflet).unwrap();
        assert_eq!(packet.buflets().last().unwrap().base_dma(), buffer);
    }
    let full = packet
        .append_buflet(rig.pool.alloc_buflet(false).unwrap())
        .unwrap_err();
    assert_eq!(full.reason, AppendReason::TooLong { buflets: 9, max: 8 });
    let other = Rig::new(on_demand(8));
    let foreign = packet
        .append_buflet(other.pool.alloc_buflet(false).unwrap())
        .unwrap_err();
    assert_eq!(foreign.reason, AppendReason::OtherPool);
    drop((packet, error, full, foreign));
    rig.finish();
    other.finish();
}

#[test]
fn b54_array_free_clears_every_slot() {
    let rig = Rig::new(regular(16));
    let mut slots: [Option<Packet>; 10] = Default::default();
    assert_eq!(rig.pool.alloc_array(&mut slots, 1).count, 10);
    slots[3] = None;
    assert_eq!(rig.pool.free_array(&mut slots), 9);
    assert!(slots.iter().all(Option::is_none));
    rig.finish();
}

#[test]
fn b55_an_empty_queue_free_is_a_no_op_and_a_full_one_ends_empty() {
    let rig = Rig::new(regular(16));
    let mut queue = PacketQueue::new();
    assert_eq!(rig.pool.free_queue(&mut queue), 0);
    assert_eq!(rig.pool.stats().metas.frees, 0);
    queue = rig.take(9);
    rig.pool.free_queue(&mut queue);
    assert!(queue.is_empty() && queue.front().is_none() && queue.pop_front().is_none());
    queue.push_back(rig.pool.alloc().unwrap());
    assert_eq!(queue.len(), 1);
    drop(queue);
    rig.finish();
}

#[test]
fn b56_chain_free_reports_the_number_freed() {
    let rig = Rig::new(on_demand(32));
    let mut queue = PacketQueue::new();
    assert!(rig.pool.alloc_burst_buflets(7, 3, &mut queue).is_complete());
    assert_eq!(rig.pool.free_queue(&mut queue), 7);
    rig.finish();
}

#[test]
fn b57_a_mixed_queue_is_split_by_pool() {
    let (a, b) = (Rig::new(regular(16)), Rig::new(on_demand(16)));
    let mut queue = PacketQueue::new();
    for i in 0..12 {
        let rig = if i % 3 == 0 { &a } else { &b };
        queue.push_back(rig.pool.alloc().unwrap());
    }
    assert_eq!(a.pool.free_queue(&mut queue), 12);
    a.finish();
    b.finish();
}

#[test]
fn b58_a_light_clone_shares_the_buffer() {
    let rig = Rig::new(on_demand(16));
    let mut source = rig.packet(64, b"shared");
    source.notes_mut().trace_id = 9;
    source.notes_mut().service_class = 3;
    let mut clone = source.clone_light().unwrap();
    let (a, b) = (source.first().unwrap(), clone.first().unwrap());
    assert_eq!((a.base_dma(), a.uses(), b.uses()), (b.base_dma(), 2, 2));
    assert_eq!((clone.data(), clone.headroom()), (&b"shared"[..], 64));
    assert_eq!(
        (clone.notes().trace_id, clone.notes().service_class),
        (0, 3)
    );
    assert!(
        source.data_mut().is_none() && clone.data_mut().is_none(),
        "shared: read only"
    );
    assert!(clone.push_front(4).is_err());
    assert_eq!(rig.pool.stats().buffers_in_use, 1);
    drop(source);
    assert!(clone.data_mut().is_some(), "alone again");
    drop(clone);
    rig.finish();
}

#[test]
fn b58_a_light_clone_of_a_chain_shares_every_buffer() {
    let rig = Rig::new(on_demand(16));
    let mut source = rig.packet(0, b"one");
    source.append(rig.packet(0, b"two")).unwrap();
    let mut large = rig.pool.alloc_large().unwrap();
    fill(&mut large, 0, b"three");
    source.append(large).unwrap();
    let mut clone = source.clone_light().unwrap();
    let again = clone.clone_light().unwrap();
    for (a, b) in source.buflets().zip(again.buflets()) {
        assert_eq!(
            (a.base_dma(), a.uses(), a.data()),
            (b.base_dma(), 3, b.data())
        );
    }
    assert_eq!((again.buflet_count(), again.len()), (3, 11));
    drop(source);
    drop(again);
    assert_eq!(
        clone.buflets().map(|b| b.uses()).collect::<Vec<_>>(),
        [1, 1, 1]
    );
    // A clone's embedded buffer moves along when its chain does.
    let mut head = rig.packet(0, b"zero");
    head.append(clone).unwrap();
    assert_eq!((head.buflet_count(), head.len()), (4, 15));
    drop(head);
    rig.finish();
}

#[test]
fn b59_the_buffer_is_freed_once_whoever_goes_first() {
    for source_first in [true, false] {
        let rig = Rig::new(on_demand(16));
        let mut source = rig.packet(0, b"x");
        let clone = source.clone_light().unwrap();
        let (first, second) = if source_first {
            (source, clone)
        } else {
            (clone, source)
        };
        let frees = rig.pool.stats().buffer_cache.frees;
        drop(first);
        assert_eq!(rig.pool.stats().buffers_in_use, 1);
        drop(second);
        assert_eq!(rig.pool.stats().buffers_in_use, 0);
        assert!(rig.pool.stats().buffer_cache.frees - frees <= 1);
        rig.finish();
    }
}

#[test]
fn b60_a_buffer_held_by_a_clone_is_never_reissued() {
    let rig = Rig::new(on_demand(16).magazines(false));
    let mut source = rig.packet(0, b"held");
    let clone = source.clone_light().unwrap();
    let held = clone.first().unwrap().base_dma();
    drop(source);
    let mut queue = PacketQueue::new();
    assert!(rig.pool.alloc_burst(10_000, &mut queue).count > 0);
    assert!(queue.iter().all(|p| p.first().unwrap().base_dma() != held));
    assert_eq!(clone.data(), b"held");
    drop((queue, clone));
    rig.finish();
}

#[test]
fn b61_a_shared_buflet_is_in_no_magazine() {
    let rig = Rig::new(on_demand(16));
    let mut source = rig.packet(0, b"x");
    let clone = source.clone_light().unwrap();
    drop(source);
    let stats = rig.pool.stats();
    assert_eq!((stats.buflets.cached, stats.metas.cached), (0, 1));
    drop(clone);
    assert_eq!(rig.pool.stats().buflets.cached, 0);
    rig.finish();
}

#[test]
fn b62_a_light_clone_of_a_large_buflet_returns_it_to_the_large_cache() {
    let rig = Rig::new(on_demand(16));
    let mut source = rig.pool.alloc_large().unwrap();
    fill(&mut source, 0, &[7; 40_000]);
    let clone = source.clone_light().unwrap();
    assert!(clone.first().unwrap().is_large());
    drop(source);
    assert_eq!(
        (
            rig.pool.stats().large_in_use,
            rig.pool.stats().buffers_in_use
        ),
        (1, 0)
    );
    drop(clone);
    assert_eq!(rig.pool.stats().large_buffer_cache.slab.in_use, 0);
    rig.finish();
}

struct Blob(Vec<u8>, Arc<Mutex<Vec<u8>>>);
impl Foreign for Blob {
    fn duplicate(&self) -> Option<Box<dyn Foreign>> {
        Some(Box::new(Blob(self.0.clone(), self.1.clone())))
    }
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}
impl Drop for Blob {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0[0]);
    }
}

fn blob(tag: u8, log: &Arc<Mutex<Vec<u8>>>) -> Attachment {
    Attachment::Foreign(Box::new(Blob(vec![tag], log.clone())))
}

#[test]
fn b63_a_heavy_clone_has_its_own_buffer_and_equal_bytes() {
    let log = Arc::new(Mutex::new(Vec::new()));
    for rig in [Rig::new(regular(16)), Rig::new(on_demand(16))] {
        let mut source = rig.packet(32, b"copied");
        source.attach(blob(5, &log));
        let mut clone = source.clone_heavy().unwrap();
        assert_eq!((clone.data(), clone.headroom()), (&b"copied"[..], 32));
        assert_ne!(
            clone.first().unwrap().base_dma(),
            source.first().unwrap().base_dma()
        );
        let Attachment::Foreign(copy) = clone.attachment() else {
            panic!("not duplicated")
        };
        assert_eq!(copy.bytes(), [5]);
        clone.data_mut().unwrap()[0] = b'C';
        assert_eq!(source.data(), b"copied");
        drop((source, clone));
        assert_eq!(log.lock().unwrap().drain(..).collect::<Vec<_>>(), [5, 5]);
        rig.finish();
    }
}

#[test]
fn b64_empty_dropped_and_regular_sources_are_refused() {
    let rig = Rig::new(on_demand(16));
    let mut empty = rig.pool.alloc_buflets(0).unwrap();
    assert_eq!(empty.clone_light().unwrap_err(), CloneError::Empty);
    assert_eq!(empty.clone_heavy().unwrap_err(), CloneError::Empty);
    let rejected = empty.finalize().unwrap_err();
    assert_eq!(rejected.reason, FinalizeError::NoBuflet);
    let mut dropped = rejected.packet;
    assert_eq!(dropped.clone_light().unwrap_err(), CloneError::Dropped);
    drop(dropped);
    let plain = Rig::new(regular(4));
    let mut packet = plain.packet(0, b"x");
    assert_eq!(packet.clone_light().unwrap_err(), CloneError::RegularPool);
    drop(packet);
    rig.finish();
    plain.finish();
}

#[test]
fn b64_finalize_checks_headers_and_sums_lengths() {
    let rig = Rig::new(on_demand(16));
    let mut packet = rig.packet(20, b"abc");
    packet.append(rig.packet(0, b"de")).unwrap();
    packet.notes_mut().l2_len = 14;
    let done = packet.finalize().unwrap();
    assert_eq!((done.len(), done.headroom()), (5, 20));
    let rejected = rig.packet(300, b"x").finalize().unwrap_err();
    assert_eq!(rejected.reason, FinalizeError::Headroom { bytes: 300 });
    assert_eq!(
        (rejected.packet.len(), rejected.packet.is_dropped()),
        (0, true)
    );
    drop((done, rejected));
    let payload = Rig::new(on_demand(4).layer(pbufpool::Layer::Payload));
    let reason = payload.packet(1, b"x").finalize().unwrap_err().reason;
    assert_eq!(reason, FinalizeError::PayloadHeader);
    rig.finish();
    payload.finish();
}

#[test]
fn b65_foreign_data_is_freed_once_with_its_packet() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let rig = Rig::new(on_demand(16));
    let mut queue = rig.take(3);
    queue.front_mut().unwrap().attach(blob(1, &log));
    assert!(log.lock().unwrap().is_empty());
    drop(queue);
    assert_eq!(*log.lock().unwrap(), [1]);
    rig.pool.purge();
    drop(rig.take(3));
    assert_eq!(*log.lock().unwrap(), [1]);
    rig.finish();
}

#[test]
fn b66_an_attached_packet_and_its_data_go_with_the_outer() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let rig = Rig::new(regular(16));
    let mut inner = rig.pool.alloc().unwrap();
    inner.attach(blob(2, &log));
    let mut outer = rig.pool.alloc().unwrap();
    outer.attach(Attachment::Packet(Leaf::new(inner).unwrap()));
    assert_eq!(rig.pool.stats().packets_in_use, 2);
    drop(outer);
    assert_eq!(*log.lock().unwrap(), [2]);
    rig.finish();
}

#[test]
fn b67_attachment_deeper_than_one_is_impossible() {
    let rig = Rig::new(regular(16));
    let mut outer = rig.pool.alloc().unwrap();
    let leaf = Leaf::new(rig.pool.alloc().unwrap()).unwrap();
    outer.attach(Attachment::Packet(leaf));
    let outer = Leaf::new(outer).expect_err("it carries a packet");
    drop(outer);
    rig.finish();
}

struct Sink(u8, Arc<Mutex<Vec<(u8, CompletionEvent)>>>);
impl CompletionSink for Sink {
    fn complete(&self, event: &CompletionEvent) {
        self.1.lock().unwrap().push((self.0, *event));
    }
}

type Events = Arc<Mutex<Vec<(u8, CompletionEvent)>>>;

fn completing(subs: &SubObjects) -> (Rig, Events) {
    let log: Events = Arc::default();
    let config: PoolConfig = [0, 3, 7].into_iter().fold(regular(16), |config, bit| {
        config.completion(bit, Arc::new(Sink(bit as u8, log.clone())))
    });
    (Rig::on(config.sub_objects(subs), Threads::leaked(1)), log)
}

#[test]
fn b68_completion_runs_exactly_once() {
    let (_turn, subs) = sub_objects();
    let (rig, log) = completing(&subs);
    let asked = Completion {
        words: [1, 2],
        callbacks: 1 << 3,
        context: 77,
    };
    let mut sent = rig.pool.alloc().unwrap();
    sent.request_completion(asked).unwrap();
    assert!(sent.complete(Some(4), 1000, -5));
    assert!(!sent.complete(Some(4), 1000, -5));
    drop(sent);
    let told = CompletionEvent {
        context: 77,
        interface: Some(4),
        timestamp: 1000,
        words: [1, 2],
        status: -5,
    };
    assert_eq!(
        log.lock().unwrap().drain(..).collect::<Vec<_>>(),
        [(3, told)]
    );
    let mut unsent = rig.pool.alloc().unwrap();
    unsent.request_completion(asked).unwrap();
    drop(unsent);
    drop(rig.pool.alloc().unwrap());
    assert_eq!(log.lock().unwrap().len(), 1);
    rig.finish();
}

#[test]
fn b69_callbacks_run_lowest_bit_first_without_interface_on_free() {
    let (_turn, subs) = sub_objects();
    let (rig, log) = completing(&subs);
    let mut queue = rig.take(2);
    let asked = Completion {
        words: [8, 9],
        callbacks: 0xff,
        context: 1,
    };
    queue
        .front_mut()
        .unwrap()
        .request_completion(asked)
        .unwrap();
    drop(queue);
    let told = CompletionEvent {
        context: 1,
        interface: None,
        timestamp: 0,
        words: [8, 9],
        status: 0,
    };
    assert_eq!(*log.lock().unwrap(), [(0, told), (3, told), (7, told)]);
    rig.finish();
}

#[derive(Default)]
struct Tap(Mutex<Vec<(u32, DropReason, Option<Direction>)>>);
impl DropTap for Tap {
    fn dropped(&self, packet: &Packet, info: &DropInfo) {
        self.0
            .lock()
            .unwrap()
            .push((packet.index(), info.reason, info.direction));
    }
}

fn why(direction: Option<Direction>) -> DropInfo {
    DropInfo {
        reason: DropReason::new(3, 7, 500),
        direction,
        function: "test",
        line: line!(),
        flags: 0,
        interface: Some(1),
        owner: None,
    }
}

#[test]
fn b70_a_drop_without_taps_only_frees() {
    let _turn = TAPS.lock().unwrap_or_else(|poison| poison.into_inner());
    let rig = Rig::new(regular(16));
    rig.pool
        .alloc()
        .unwrap()
        .drop_with(&why(Some(Direction::In)));
    let tap = Arc::new(Tap::default());
    let registration = register(tap.clone());
    rig.pool.alloc().unwrap().drop_with(&why(None));
    drop(registration);
    rig.pool
        .alloc()
        .unwrap()
        .drop_with(&why(Some(Direction::In)));
    assert!(tap.0.lock().unwrap().is_empty());
    rig.finish();
}

#[test]
fn b71_a_tap_hears_of_each_packet_once_before_its_free() {
    let _turn = TAPS.lock().unwrap_or_else(|poison| poison.into_inner());
    let rig = Rig::new(regular(16));
    let tap = Arc::new(Tap::default());
    let _registration = register(tap.clone());
    let mut queue = rig.take(3);
    let order: Vec<_> = queue.iter().map(|p| p.index()).collect();
    queue.drop_with(&why(Some(Direction::Both)));
    assert!(queue.is_empty());
    let heard = tap.0.lock().unwrap();
    assert_eq!(heard.iter().map(|h| h.0).collect::<Vec<_>>(), order);
    let reason = heard[0].1;
    assert_eq!(
        (reason.component(), reason.domain(), reason.code()),
        (3, 7, 500)
    );
    assert!(
        heard.iter().all(|h| h.2 == Some(Direction::Out)),
        "out wins"
    );
    drop(heard);
    rig.finish();
}

#[test]
fn b72_dropping_a_zero_length_packet_frees_it() {
    let rig = Rig::new(on_demand(16));
    rig.pool
        .alloc_buflets(0)
        .unwrap()
        .drop_with(&why(Some(Direction::Out)));
    drop(rig.pool.alloc_buflets(0).unwrap());
    drop(rig.pool.alloc().unwrap());
    rig.finish();
}

#[test]
fn b73_buffers_alone_need_an_on_demand_pool() {
    let rig = Rig::new(regular(4));
    assert_eq!(
        rig.pool.alloc_buffer().unwrap_err(),
        AllocError::NotSupported
    );
    assert_eq!(
        rig.pool.alloc_buflet(false).unwrap_err(),
        AllocError::NotSupported
    );
    rig.finish();
}

#[test]
fn b74_a_buffer_alone_reports_its_place() {
    let rig = Rig::new(on_demand(64).magazines(false));
    let mut places = Vec::new();
    let mut buffers = Vec::new();
    while let Ok(buffer) = rig.pool.alloc_buffer() {
        places.push(buffer.place());
        assert_eq!(buffer.len(), 2048);
        buffers.push(buffer);
    }
    assert_eq!(buffers.len(), rig.pool.stats().buffers);
    buffers[0].bytes_mut().unwrap().fill(1);
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), buffers.len(), "every place once");
    let last = places.last().unwrap().0;
    assert_eq!(last + 1, rig.pool.stats().buffer_cache.slab.live_segments);
    drop(buffers);
    rig.finish();
}

#[test]
fn b75_buflet_batches_report_like_packet_batches() {
    let rig = Rig::new(on_demand(64).magazines(false));
    let total = rig.pool.stats().buffers;
    let mut out = Vec::new();
    let burst = rig.pool.alloc_buflet_burst(total - 2, false, &mut out);
    assert_eq!(
        (burst.status(), out.len()),
        (BurstStatus::Complete, total - 2)
    );
    let burst = rig.pool.alloc_buflet_burst(5, false, &mut out);
    assert_eq!((burst.status(), burst.count), (BurstStatus::Partial, 2));
    let burst = rig.pool.alloc_buflet_burst(5, false, &mut out);
    assert_eq!(
        (burst.status(), burst.shortfall),
        (BurstStatus::Nothing, Some(AllocError::NoBuffers))
    );
    assert!(
        out.iter()
            .all(|b| b.span().limit() == 2048 && b.span().is_empty())
    );
    let large = rig.pool.alloc_buflet(true).unwrap();
    assert_eq!(large.span().limit(), 65536);
    drop((out, large));
    rig.finish();
}
