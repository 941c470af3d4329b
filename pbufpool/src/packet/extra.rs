//! The metadata behind the first cache line. A field counts only while its bit is set; the
//! owner of the bits is [`Meta::extra_mut`](super::meta::Meta::extra_mut), which clears them
//! all on the first use in a packet's life. So the options, flow and completion records may stay
//! stale across lives: nobody can read them before they are written.
#![forbid(unsafe_code)]

use super::attachment::Attachment;
use super::offload::Offload;
use crate::buflet::ExtBuflet;
use crate::subobject::{Completion, Flow, Options, Record, SubPointers};
use core::ptr::NonNull;

/// Which fields count.
mod present {
    pub(super) const TAIL: u32 = 1 << 0;
    pub(super) const OFFLOAD: u32 = 1 << 1;
    pub(super) const PLAIN: u32 = 1 << 2;
    pub(super) const OPTIONS: u32 = 1 << 3;
    pub(super) const FLOW: u32 = 1 << 4;
    pub(super) const COMPLETION: u32 = 1 << 5;
    /// What a free has to act on.
    pub(super) const ACTION: u32 = COMPLETION;
}

/// Small values about a packet, all of them unset in a fresh one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// When it was received or sent, in nanoseconds; 0 = unknown.
    pub timestamp: u64,
    /// A word for the packet's user.
    pub private: u64,
    /// Identifies the packet in traces; 0 = not traced.
    pub trace_id: u32,
    /// Flow that it belongs to; 0 = none.
    pub flow_id: u32,
    /// How urgent it is; 0 = unspecified.
    pub service_class: u8,
    /// Bytes of link-layer header at the start of the data.
    pub l2_len: u8,
}

/// Fields that most packets never use.
#[derive(Default)]
pub(crate) struct Extra {
    present: u32,
    offload: Offload,
    notes: Notes,
    tail: Option<NonNull<ExtBuflet>>,
    /// Bytes of the chain; counts while the packet has `flag::RUN`.
    pub(crate) run: u32,
    /// `None` whenever it does not count.
    attachment: Attachment,
    /// Live as long as the constructed packet.
    pub(crate) subs: SubPointers,
}

impl Extra {
    /// Nothing counts.
    pub(crate) fn forget(&mut self) {
        debug_assert!(
            self.attachment.is_none(),
            "an attachment outlived its packet"
        );
        self.present = 0;
    }

    fn has(&self, bit: u32) -> bool {
        self.present & bit != 0
    }

    pub(crate) fn tail(&self) -> Option<NonNull<ExtBuflet>> {
        if self.has(present::TAIL) {
            self.tail
        } else {
            None
        }
    }

    pub(crate) fn set_tail(&mut self, tail: NonNull<ExtBuflet>) {
        self.tail = Some(tail);
        self.present |= present::TAIL;
    }

    /// The chain changed at its end: walk it next time.
    pub(crate) fn forget_tail(&mut self) {
        self.present &= !present::TAIL;
    }

    pub(crate) fn offload(&self) -> Option<&Offload> {
        self.has(present::OFFLOAD).then_some(&self.offload)
    }

    pub(crate) fn offload_mut(&mut self) -> &mut Offload {
        if !self.has(present::OFFLOAD) {
            self.offload = Offload::NONE;
            self.present |= present::OFFLOAD;
        }
        &mut self.offload
    }

    pub(crate) fn notes(&self) -> Notes {
        if self.has(present::PLAIN) {
            self.notes
        } else {
            Notes::default()
        }
    }

    pub(crate) fn notes_mut(&mut self) -> &mut Notes {
        if !self.has(present::PLAIN) {
            self.notes = Notes::default();
            self.present |= present::PLAIN;
        }
        &mut self.notes
    }

    pub(crate) fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    pub(crate) fn attachment_mut(&mut self) -> &mut Attachment {
        &mut self.attachment
    }

    pub(crate) fn options(&self) -> Option<&Options> {
        self.subs
            .options
            .as_ref()
            .filter(|_| self.has(present::OPTIONS))
            .map(Record::get)
    }

    /// The options, cleared on their first use; `None` without sub-objects.
    pub(crate) fn options_mut(&mut self) -> Option<&mut Options> {
        let fresh = !self.has(present::OPTIONS);
        let options = self.subs.options.as_mut()?.get_mut();
        if fresh {
            *options = Options::default();
            self.present |= present::OPTIONS;
        }
        Some(options)
    }

    pub(crate) fn flow(&self) -> Option<&Flow> {
        self.subs
            .flow
            .as_ref()
            .filter(|_| self.has(present::FLOW))
            .map(Record::get)
    }

    /// The flow record, cleared on its first use; `None` without sub-objects.
    pub(crate) fn flow_mut(&mut self) -> Option<&mut Flow> {
        let fresh = !self.has(present::FLOW);
        let flow = self.subs.flow.as_mut()?.get_mut();
        if fresh {
            *flow = Flow::default();
            self.present |= present::FLOW;
        }
        Some(flow)
    }

    /// Asks for a completion; `false` without sub-objects.
    pub(crate) fn request_completion(&mut self, completion: Completion) -> bool {
        let Some(record) = &mut self.subs.completion else {
            return false;
        };
        *record.get_mut() = completion;
        self.present |= present::COMPLETION;
        true
    }

    /// Takes the request, so that it is performed once.
    pub(crate) fn take_completion(&mut self) -> Option<Completion> {
        let asked = self.has(present::COMPLETION);
        self.present &= !present::COMPLETION;
        self.subs
            .completion
            .as_ref()
            .filter(|_| asked)
            .map(|record| *record.get())
    }

    /// Whether a free has more to do than recycling.
    pub(crate) fn needs_action(&self) -> bool {
        self.present & present::ACTION != 0 || !self.attachment.is_none()
    }
}
