//! Packet metadata that rides along: notes, options, flow, completion, attachment, marks.

use super::Packet;
use super::attachment::Attachment;
use super::extra::Notes;
use crate::buflet::flag;
use crate::subobject::{Completion, CompletionEvent, Flow, Options};

/// The pool was not given sub-objects, so its packets have no options, flow or completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSubObjects;

impl Packet {
    /// Small values about the packet.
    pub fn notes(&self) -> Notes {
        self.meta().extra().map_or(Notes::default(), |e| e.notes())
    }

    /// The same, for writing.
    pub fn notes_mut(&mut self) -> &mut Notes {
        self.meta_mut().extra_mut().notes_mut()
    }

    /// Options, if they were set.
    pub fn options(&self) -> Option<&Options> {
        self.meta().extra()?.options()
    }

    /// Options for writing, cleared on their first use; `None` without sub-objects.
    pub fn options_mut(&mut self) -> Option<&mut Options> {
        self.meta_mut().extra_mut().options_mut()
    }

    /// Flow classification, if there is one.
    pub fn flow(&self) -> Option<&Flow> {
        self.meta().extra()?.flow()
    }

    /// Flow classification for writing, cleared on its first use; `None` without sub-objects.
    pub fn flow_mut(&mut self) -> Option<&mut Flow> {
        self.meta_mut().extra_mut().flow_mut()
    }

    /// Asks to be told when the packet was sent, or freed unsent.
    ///
    /// # Errors
    /// [`NoSubObjects`] if the pool has none.
    pub fn request_completion(&mut self, completion: Completion) -> Result<(), NoSubObjects> {
        match self.meta_mut().acting_mut().request_completion(completion) {
            true => Ok(()),
            false => Err(NoSubObjects),
        }
    }

    /// The driver sent the packet: tells whoever asked, lowest callback first. `false` if
    /// nobody asked, or it was done before.
    pub fn complete(&mut self, interface: Option<u32>, timestamp: u64, status: i32) -> bool {
        let meta = self.meta_mut();
        if meta.flags() & flag::EXTRA == 0 {
            return false;
        }
        let Some(asked) = meta.extra_mut().take_completion() else {
            return false;
        };
        let event = CompletionEvent {
            context: asked.context,
            interface,
            timestamp,
            words: asked.words,
            status,
        };
        let sinks = &meta.inner().config.completions;
        for (bit, sink) in sinks.iter().enumerate() {
            if let (true, Some(sink)) = (asked.callbacks & (1 << bit) != 0, sink) {
                sink.complete(&event);
            }
        }
        true
    }

    /// What the packet carries along.
    pub fn attachment(&self) -> &Attachment {
        const NONE: &Attachment = &Attachment::None;
        self.meta().extra().map_or(NONE, |e| e.attachment())
    }

    /// Carries `attachment` along; returns what was carried before.
    pub fn attach(&mut self, attachment: Attachment) -> Attachment {
        core::mem::replace(self.meta_mut().acting_mut().attachment_mut(), attachment)
    }

    /// Takes off what is carried along.
    pub fn detach(&mut self) -> Attachment {
        match self.meta().extra() {
            Some(_) => self.meta_mut().extra_mut().attachment_mut().take(),
            None => Attachment::None,
        }
    }

    /// Whether a check marked the packet dropped: it has no data any more.
    pub fn is_dropped(&self) -> bool {
        self.meta().flags() & flag::DROPPED != 0
    }

    /// Whether the buffers hold less than the whole payload.
    pub fn is_truncated(&self) -> bool {
        self.meta().flags() & flag::TRUNCATED != 0
    }

    /// Marks that the buffers hold less than the whole payload.
    pub fn set_truncated(&mut self, truncated: bool) {
        self.meta_mut().set(flag::TRUNCATED, truncated);
    }
}
