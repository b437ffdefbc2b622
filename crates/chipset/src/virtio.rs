//! Virtio devices on PCI: the block device, with one queue or several, and the entropy device.
//!
//! OASIS Virtual I/O Device (VIRTIO) 1.1, chapters 2 and 4.1; where it leaves a choice, QEMU 7.2's is
//! taken. A device has the legacy interface (ports), the modern one (memory, found through capabilities),
//! or both. Requests are served one by one, each a latency after the one before, so that what the guest
//! makes a device do at once is bounded. A queue that makes no sense stops the device until its reset.

pub mod blk;
mod queue;
pub mod rng;
#[cfg(test)]
mod tests;

pub use queue::{Broken, Chain, Queue, Span};

use serde::{Deserialize, Serialize};

use crate::{
    Chip, Effects, GuestMemory, Moment, Region, ResetKind, Space,
    msix::{self, Table},
    pci::{self, ConfigSpace},
};
use queue::NO_VECTOR;

/// Output pin: INTA#.
pub const INTA: u8 = 0;

/// Base address registers: the legacy interface's ports, the MSI-X table, the modern interface.
const LEGACY_BAR: u8 = 0x10;
const MSIX_BAR: u8 = 0x14;
const MODERN_BAR: u8 = 0x20;
/// Number of the last one.
const MODERN_BAR_NUMBER: u8 = 4;
/// Bytes of a structure, but for the notifications where each queue has a page of them.
const PAGE: u64 = 0x1000;
const MSIX_LENGTH: u64 = 0x1000;
/// Where the pending bits are in the MSI-X table's range.
const PENDING_BITS: u64 = 0x800;
/// Memory that can be prefetched, at a 64-bit address.
const PREFETCHABLE_64: u32 = 0x0c;

/// The capabilities of the modern interface (section 4.1.4), each with the number of its structure and the
/// structure's page; [`WINDOW`] follows them.
const STRUCTURES: [(u8, u8, u8); 4] = [(0x40, 1, 0), (0x50, 3, 1), (0x60, 4, 2), (0x70, 2, 3)];
/// Alternative access through configuration space (section 4.1.4.8).
const WINDOW: u8 = 0x84;
const WINDOW_DATA: u8 = WINDOW + 16;
/// Where the MSI-X capability is: behind the others, or first where there are none.
const MSIX_BEHIND: u8 = 0x98;
const MSIX_ALONE: u8 = 0x40;
/// Offset of Message Control in it.
const MESSAGE_CONTROL: u8 = 2;
const INTERRUPT_STATUS: u16 = 1 << 3;
const CAPABILITIES_LIST: u16 = 1 << 4;

/// Device status (section 2.1).
const DRIVER_OK: u8 = 1 << 2;
const FEATURES_OK: u8 = 1 << 3;
const DEVICE_NEEDS_RESET: u8 = 1 << 6;

/// Features of every device (section 6 and 6.3).
const NOTIFY_ON_EMPTY: u64 = 1 << 24;
const ANY_LAYOUT: u64 = 1 << 27;
const INDIRECT_DESC: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;
/// A driver that takes this one has not looked.
const BAD_FEATURE: u64 = 1 << 30;
const VERSION_1: u64 = 1 << 32;
/// A queue can be reset alone (VIRTIO 1.2, section 2.6.1).
const RING_RESET: u64 = 1 << 40;
/// What only the legacy interface offers.
const OF_LEGACY: u64 = NOTIFY_ON_EMPTY | ANY_LAYOUT | BAD_FEATURE;

/// Interrupt status: a queue was used; the configuration or the status changed.
const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

/// Registers of the legacy interface (section 4.1.4.8), with their bytes. The two vectors are there while
/// MSI-X is enabled; the device's own configuration follows.
const LEGACY: [(u64, u8, &str); 10] = [
    (0x00, 4, "HOST_FEATURES"),
    (0x04, 4, "GUEST_FEATURES"),
    (0x08, 4, "QUEUE_PFN"),
    (0x0c, 2, "QUEUE_NUM"),
    (0x0e, 2, "QUEUE_SEL"),
    (0x10, 2, "QUEUE_NOTIFY"),
    (0x12, 1, "STATUS"),
    (0x13, 1, "ISR"),
    (0x14, 2, "CONFIG_VECTOR"),
    (0x16, 2, "QUEUE_VECTOR"),
];
const LEGACY_ISR: u64 = 0x13;
const LEGACY_LENGTH: u64 = 0x14;
const LEGACY_LENGTH_WITH_VECTORS: u64 = 0x18;

/// Registers of the common configuration structure (section 4.1.4.3), with their bytes.
const COMMON: [(u64, u8, &str); 21] = [
    (0x00, 4, "device_feature_select"),
    (0x04, 4, "device_feature"),
    (0x08, 4, "driver_feature_select"),
    (0x0c, 4, "driver_feature"),
    (0x10, 2, "msix_config"),
    (0x12, 2, "num_queues"),
    (0x14, 1, "device_status"),
    (0x15, 1, "config_generation"),
    (0x16, 2, "queue_select"),
    (0x18, 2, "queue_size"),
    (0x1a, 2, "queue_msix_vector"),
    (0x1c, 2, "queue_enable"),
    (0x1e, 2, "queue_notify_off"),
    (0x20, 4, "queue_desc"),
    (0x24, 4, "queue_desc_high"),
    (0x28, 4, "queue_driver"),
    (0x2c, 4, "queue_driver_high"),
    (0x30, 4, "queue_device"),
    (0x34, 4, "queue_device_high"),
    (0x38, 2, "queue_notify_data"),
    (0x3a, 2, "queue_reset"),
];

/// Queues that can be selected, there or not.
const QUEUES: u64 = 1024;

/// The ranges of addresses.
mod range {
    pub const LEGACY: u8 = 0;
    pub const MSIX: u8 = 1;
    pub const COMMON: u8 = 2;
    pub const ISR: u8 = 3;
    pub const DEVICE: u8 = 4;
    pub const NOTIFY: u8 = 5;
}

/// Which interfaces a device has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interface {
    /// Ports alone, as before virtio 1.0.
    Legacy,
    /// Both.
    Transitional,
    /// Memory alone.
    Modern,
}

impl Interface {
    /// Whether it has the modern interface.
    #[must_use]
    pub fn is_modern(self) -> bool {
        self != Interface::Legacy
    }

    /// Whether it has the legacy interface.
    #[must_use]
    pub fn is_legacy(self) -> bool {
        self != Interface::Modern
    }
}

/// In what an emulator's versions differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The interfaces.
    pub interface: Interface,
    /// A disk takes discards and writes of zeros.
    pub discard: bool,
    /// Entries of a disk's queue.
    pub blk_queue_size: u16,
    /// A disk has as many queues as there are processors.
    pub blk_queue_each: bool,
    /// A queue can be reset alone.
    pub queue_reset: bool,
    /// Each queue's notifications have a page of their own.
    pub page_per_queue: bool,
    /// The entropy device says that it takes any layout of descriptors.
    pub rng_any_layout: bool,
    /// The entropy device has MSI-X.
    pub rng_msix: bool,
}

impl Facts {
    /// How far apart the places are at which queues are notified.
    fn notify_off_multiplier(self) -> u64 {
        if self.page_per_queue { PAGE } else { 4 }
    }

    /// Bytes of the structure of the page `number` of the modern interface.
    fn length_of(self, number: u8) -> u64 {
        let notify = range::COMMON + number == range::NOTIFY;
        if notify { QUEUES * self.notify_off_multiplier() } else { PAGE }
    }

    /// Bytes of the modern interface: a power of two.
    fn modern_length(self) -> u64 {
        let notify = range::NOTIFY - range::COMMON;
        (u64::from(notify) * PAGE + self.length_of(notify)).next_power_of_two()
    }
}

/// What kind of device a function is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// The device's number (section 5).
    pub number: u16,
    /// Class and subclass.
    pub class: (u8, u8),
    /// Names of its ranges, as QEMU's memory map has them.
    pub regions: [&'static str; 6],
}

/// What is behind the queues.
pub trait Function {
    /// What a snapshot carries of it.
    type State: Clone + PartialEq + Serialize;
    /// What it is.
    const IDENTITY: Identity;

    /// What is saved.
    fn state(&self) -> &Self::State;
    /// Takes what was saved.
    fn restore(&mut self, state: Self::State);
    /// Features of its kind.
    fn features(&self, facts: Facts) -> u64;
    /// Whether it says that it takes any layout of descriptors, which all do.
    fn has_any_layout(facts: Facts) -> bool;
    /// Whether it has MSI-X.
    fn has_msix(facts: Facts) -> bool;
    /// How many queues it has.
    fn queues(&self) -> u16 {
        1
    }
    /// Entries of each.
    fn queue_size(facts: Facts) -> u16;
    /// Its configuration.
    fn config(&self, _facts: Facts) -> Vec<u8> {
        Vec::new()
    }
    /// A driver writes its configuration.
    fn config_write(&mut self, _offset: u64, _value: u64) {}
    /// The device is reset.
    fn reset(&mut self) {}
    /// How long a request takes.
    fn latency_ns(&self) -> u64;
    /// Serves a request; gives how many bytes of it were written.
    ///
    /// # Errors
    /// When it makes no sense.
    fn serve(&mut self, chain: &Chain, memory: &mut dyn GuestMemory) -> Result<u32, Broken>;
}

/// Everything a snapshot carries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct State<S> {
    /// PCI configuration space.
    pub config: ConfigSpace,
    /// The MSI-X table.
    pub msix: Table,
    /// Which half of the offered features is read.
    pub device_feature_select: u32,
    /// Which half of the accepted features is written.
    pub driver_feature_select: u32,
    /// The features the driver has accepted.
    pub driver_feature: u64,
    /// Device status.
    pub device_status: u8,
    /// Interrupt status.
    pub isr: u8,
    /// Vector of changes of the configuration.
    pub msix_config: u16,
    /// The selected queue.
    pub queue_select: u16,
    /// The queues.
    pub queues: Vec<Queue>,
    /// The queue that is looked at first for the next request: they take turns.
    pub turn: u16,
    /// When the next request is served.
    pub due: Option<Moment>,
    /// What is behind the queues.
    pub function: S,
}

/// A virtio device on PCI.
#[derive(Clone, Debug)]
pub struct Virtio<F: Function> {
    state: State<()>,
    function: F,
    facts: Facts,
}

fn power_on<F: Function>(function: &F, facts: Facts) -> ConfigSpace {
    let Identity { number, class: (class, subclass), .. } = F::IDENTITY;
    let legacy = facts.interface.is_legacy();
    let device = match (legacy, number) {
        (false, _) => 0x1040 + number,
        (true, 2) => 0x1001,
        (true, _) => 0x1001 + number,
    };
    let identity = pci::Identity {
        id: (0x1af4, device),
        revision: u8::from(!legacy),
        class: (class, subclass, 0),
        header_type: 0,
        subsystem: (0x1af4, if legacy { number } else { 0x1100 }),
    };
    let mut config = ConfigSpace::new(&identity, 0x0507);
    config.clear_by_one(pci::STATUS + 1, &[0xf9]);
    config.set(pci::INTERRUPT_PIN, 1);
    config.writable(0x40, &[0xff; 0xc0]);
    let mask = |length: u64| (length as u32).wrapping_neg().to_le_bytes();
    if legacy {
        config.set_u32(LEGACY_BAR, 1);
        config.writable(LEGACY_BAR, &mask(legacy_length(function, facts)));
    }
    let mut head = 0;
    let mut put = |config: &mut ConfigSpace, at: u8, bytes: &[u8]| {
        config.writable(at, &vec![0; bytes.len()]);
        for (offset, byte) in (at..).zip(bytes) {
            config.set(offset, *byte);
        }
        config.set(at + 1, head);
        head = at;
    };
    if facts.interface.is_modern() {
        config.set_u32(MODERN_BAR, PREFETCHABLE_64);
        config.writable(MODERN_BAR, &mask(facts.modern_length()));
        config.writable(MODERN_BAR + 4, &[0xff; 4]);
        for (at, structure, page) in STRUCTURES {
            let length = if at == 0x70 { 0x14 } else { 0x10 };
            let mut bytes = vec![0; usize::from(length)];
            let start = [0x09, 0, length, structure, MODERN_BAR_NUMBER, 0, 0, 0, 0, page << 4, 0, 0];
            // The notifications' capability says how far they are apart.
            let lengths = [facts.length_of(page), facts.notify_off_multiplier()];
            let lengths = lengths.into_iter().flat_map(|length| (length as u32).to_le_bytes());
            for (byte, value) in bytes.iter_mut().zip(start.into_iter().chain(lengths)) {
                *byte = value;
            }
            put(&mut config, at, &bytes);
        }
        let mut bytes = [0; 0x14];
        [bytes[0], bytes[2], bytes[3]] = [0x09, 0x14, 5];
        put(&mut config, WINDOW, &bytes);
        config.writable(WINDOW + 4, &[0xff]);
        config.writable(WINDOW + 8, &[0xff; 12]);
    }
    if F::has_msix(facts) {
        let at = msix_at(facts);
        let [low, high] = table_size(function).to_le_bytes();
        put(&mut config, at, &[0x11, 0, low, high, 1, 0, 0, 0, 1, (PENDING_BITS >> 8) as u8, 0, 0]);
        config.writable(at + MESSAGE_CONTROL + 1, &[((msix::ENABLE | msix::FUNCTION_MASK) >> 8) as u8]);
        config.writable(MSIX_BAR, &mask(MSIX_LENGTH));
    }
    config.set(0x34, head);
    config.set_u16(pci::STATUS, if head == 0 { 0 } else { CAPABILITIES_LIST });
    config
}

/// Message Control's Table Size: entries less one. Each queue has one, and the configuration.
fn table_size<F: Function>(function: &F) -> u16 {
    function.queues()
}

fn new_queues<F: Function>(function: &F, facts: Facts) -> Vec<Queue> {
    vec![Queue::new(F::queue_size(facts)); function.queues().into()]
}

fn msix_at(facts: Facts) -> u8 {
    if facts.interface.is_modern() { MSIX_BEHIND } else { MSIX_ALONE }
}

impl<F: Function> Virtio<F> {
    /// A device as at power-on.
    #[must_use]
    pub fn new(function: F, facts: Facts) -> Virtio<F> {
        let state = State {
            config: power_on(&function, facts),
            msix: Table::new(if F::has_msix(facts) { usize::from(table_size(&function)) + 1 } else { 0 }),
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_feature: 0,
            device_status: 0,
            isr: 0,
            msix_config: NO_VECTOR,
            queue_select: 0,
            queues: new_queues(&function, facts),
            turn: 0,
            due: None,
            function: (),
        };
        Virtio { state, function, facts }
    }

    /// What is behind the queues.
    #[must_use]
    pub fn function(&self) -> &F {
        &self.function
    }

    /// The queues.
    #[must_use]
    pub fn queues(&self) -> &[Queue] {
        &self.state.queues
    }

    /// Everything to save.
    #[must_use]
    pub fn state(&self) -> State<F::State> {
        self.state.clone().with(self.function.state().clone())
    }

    /// Takes saved state. Interrupt lines are the machine's to restore.
    pub fn restore(&mut self, state: State<F::State>) {
        self.function.restore(state.function.clone());
        let State { mut config, mut msix, .. } = std::mem::replace(&mut self.state, state.with(()));
        config.restore_bytes(&self.state.config);
        msix.restore(&self.state.msix);
        let most = F::queue_size(self.facts);
        self.state.queues.resize(self.function.queues().into(), Queue::new(most));
        for queue in &mut self.state.queues {
            queue.queue_size = queue.queue_size.min(most);
        }
        (self.state.config, self.state.msix) = (config, msix);
        self.state.driver_feature &= self.offered();
    }

    /// Whether INTA# is asserted.
    #[must_use]
    pub fn interrupt(&self) -> bool {
        let disabled = self.state.config.get_u16(pci::COMMAND) & pci::INTERRUPT_DISABLE != 0;
        self.state.isr != 0 && !disabled && self.message_control() & msix::ENABLE == 0
    }

    /// All features the device has, those of the legacy interface too.
    fn offered(&self) -> u64 {
        let any_layout = if F::has_any_layout(self.facts) { ANY_LAYOUT } else { 0 };
        let common = NOTIFY_ON_EMPTY | INDIRECT_DESC | EVENT_IDX | BAD_FEATURE | any_layout;
        let reset = if self.facts.queue_reset { RING_RESET } else { 0 };
        let modern = if self.facts.interface.is_modern() { VERSION_1 | reset } else { 0 };
        self.function.features(self.facts) | common | modern
    }

    fn accepted(&self, feature: u64) -> bool {
        self.state.driver_feature & feature != 0
    }

    /// Message Control of the MSI-X capability.
    fn message_control(&self) -> u16 {
        if F::has_msix(self.facts) {
            self.state.config.get_u16(msix_at(self.facts) + MESSAGE_CONTROL)
        } else {
            0
        }
    }

    /// Length of the legacy interface's registers before the device's own configuration.
    fn legacy_header(&self) -> u64 {
        let vectors = self.message_control() & msix::ENABLE != 0;
        if vectors { LEGACY_LENGTH_WITH_VECTORS } else { LEGACY_LENGTH }
    }

    /// Drives the interrupt pin.
    fn drive(&mut self, fx: &mut Effects) {
        let level = self.interrupt();
        let status = self.state.config.get_u16(pci::STATUS) & !INTERRUPT_STATUS;
        self.state.config.set_u16(pci::STATUS, status | if level { INTERRUPT_STATUS } else { 0 });
        fx.line(INTA, level);
    }

    /// Something happened: `causes` of the interrupt status, and `vector` where MSI-X is used.
    fn interrupt_for(&mut self, causes: u8, vector: u16, fx: &mut Effects) {
        self.state.isr |= causes;
        let control = self.message_control();
        if control & msix::ENABLE != 0 {
            fx.messages.extend(self.state.msix.signal(vector, control));
        }
        self.drive(fx);
    }

    /// The driver's work makes no sense: the device waits for its reset (section 2.1.2).
    fn give_up(&mut self, (number, broken): (usize, Broken), fx: &mut Effects) {
        let next = self.state.queues.get(number).map_or(0, |queue| queue.next_available);
        fx.note(broken.0, next.into(), number as u64);
        self.state.device_status |= DEVICE_NEEDS_RESET;
        self.state.due = None;
        if self.accepted(VERSION_1) {
            self.interrupt_for(ISR_QUEUE | ISR_CONFIG, self.state.msix_config, fx);
        }
    }

    /// The device status as a driver reads it: that the device needs its reset is new in version 1.
    fn status(&self) -> u8 {
        let hidden = if self.accepted(VERSION_1) { 0 } else { DEVICE_NEEDS_RESET };
        self.state.device_status & !hidden
    }

    /// Device reset (section 2.4), as a driver asks for it.
    fn reset_device(&mut self, fx: &mut Effects) {
        self.function.reset();
        let State { config, mut msix, .. } = self.state.clone();
        msix.pending = 0; // QEMU forgets what no vector could be sent for
        self.state = State {
            config,
            msix,
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_feature: 0,
            device_status: 0,
            isr: 0,
            msix_config: NO_VECTOR,
            queue_select: 0,
            queues: new_queues(&self.function, self.facts),
            turn: 0,
            due: None,
            function: (),
        };
        self.drive(fx);
    }

    /// Whether queues that are set up may be looked at.
    fn runs(&self) -> bool {
        let State { device_status, config, .. } = &self.state;
        let ready = device_status & DRIVER_OK != 0 || !self.accepted(VERSION_1);
        let mastering = config.get_u16(pci::COMMAND) & 4 != 0;
        ready && mastering && device_status & DEVICE_NEEDS_RESET == 0
    }

    /// The driver says that there are requests in queue `number`.
    fn notify(&mut self, number: u64, fx: &mut Effects) {
        let queue = usize::try_from(number).ok().and_then(|number| self.state.queues.get(number));
        if queue.is_some_and(|queue| queue.queue_enable) && self.state.due.is_none() && self.runs() {
            self.state.due = Some(fx.now().after(self.function.latency_ns().max(1)));
        }
    }

    fn set_status(&mut self, value: u8, fx: &mut Effects) {
        if value == 0 {
            return self.reset_device(fx);
        }
        let refused = !self.facts.interface.is_legacy() && !self.accepted(VERSION_1);
        let kept = self.state.device_status & DEVICE_NEEDS_RESET;
        self.state.device_status = (value & !if refused { FEATURES_OK } else { 0 }) | kept;
    }

    /// The selected queue, if it is there.
    fn selected(&self) -> Option<&Queue> {
        self.state.queues.get(usize::from(self.state.queue_select))
    }

    /// The driver selects a queue.
    fn select(&mut self, value: u64) {
        let number = value & 0xffff;
        if number < QUEUES {
            self.state.queue_select = number as u16;
        }
    }

    /// The legacy interface's registers as bytes, without the device's own configuration.
    fn legacy_registers(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let queue = self.selected();
        bytes.extend((self.offered() as u32).to_le_bytes());
        bytes.extend((self.state.driver_feature as u32).to_le_bytes());
        bytes.extend(queue.map_or(0, Queue::page).to_le_bytes());
        bytes.extend(queue.map_or(0, |queue| queue.queue_size).to_le_bytes());
        bytes.extend(self.state.queue_select.to_le_bytes());
        bytes.extend([0, 0, self.status(), self.state.isr]);
        bytes.extend(self.state.msix_config.to_le_bytes());
        bytes.extend(queue.map_or(NO_VECTOR, |queue| queue.queue_msix_vector).to_le_bytes());
        bytes
    }

    /// The common configuration structure as bytes.
    fn common_registers(&self) -> Vec<u8> {
        let half = |features: u64, select: u32| match select {
            0 => features as u32,
            1 => (features >> 32) as u32,
            _ => 0,
        };
        let State { device_feature_select, driver_feature_select, driver_feature, .. } = self.state;
        let mut bytes = Vec::new();
        bytes.extend(device_feature_select.to_le_bytes());
        bytes.extend(half(self.offered() & !OF_LEGACY, device_feature_select).to_le_bytes());
        bytes.extend(driver_feature_select.to_le_bytes());
        bytes.extend(half(driver_feature, driver_feature_select).to_le_bytes());
        bytes.extend(self.state.msix_config.to_le_bytes());
        bytes.extend((self.state.queues.len() as u16).to_le_bytes());
        bytes.extend([self.status(), 0]);
        bytes.extend(self.state.queue_select.to_le_bytes());
        let absent = Queue::new(0);
        let queue = self.selected().unwrap_or(&absent);
        bytes.extend(queue.queue_size.to_le_bytes());
        bytes.extend(queue.queue_msix_vector.to_le_bytes());
        bytes.extend(u16::from(queue.queue_enable).to_le_bytes());
        bytes.extend(self.state.queue_select.to_le_bytes()); // queue_notify_off
        for address in [queue.queue_desc, queue.queue_driver, queue.queue_device] {
            bytes.extend(address.to_le_bytes());
        }
        bytes
    }

    /// Reads the legacy interface's ports.
    fn read_legacy(&mut self, offset: u64, size: u8, fx: &mut Effects) -> u64 {
        let header = self.legacy_header();
        if let Some(within) = offset.checked_sub(header) {
            return value_of(&self.function.config(self.facts), within, size).unwrap_or(u64::MAX);
        }
        let value = value_of(&self.legacy_registers(), offset, size).unwrap_or(u64::MAX);
        if (offset..offset + u64::from(size)).contains(&LEGACY_ISR) {
            self.acknowledge(fx);
        }
        value
    }

    /// The interrupt status was read, which clears it.
    fn acknowledge(&mut self, fx: &mut Effects) {
        self.state.isr = 0;
        self.drive(fx);
    }

    fn write_legacy(&mut self, offset: u64, value: u64, fx: &mut Effects) {
        if let Some(within) = offset.checked_sub(self.legacy_header()) {
            return self.function.config_write(within, value);
        }
        let vector = self.vector(value);
        let selected = self.state.queues.get_mut(usize::from(self.state.queue_select));
        match (offset, selected) {
            (0x04, _) => {
                let accepted = if value & BAD_FEATURE != 0 { 0 } else { value & 0xffff_ffff };
                self.accept(accepted);
            }
            (0x08, _) if value as u32 == 0 => self.reset_device(fx),
            (0x08, Some(queue)) => queue.place(value as u32),
            (0x0e, _) => self.select(value),
            (0x10, _) => self.notify(value & 0xffff, fx),
            (0x12, _) => self.set_status(value as u8, fx),
            (0x14, _) => self.state.msix_config = vector,
            (0x16, Some(queue)) => queue.queue_msix_vector = vector,
            _ => fx.note("virtio legacy register", offset, value),
        }
    }

    /// The driver accepts features, until it has said that these are all.
    fn accept(&mut self, features: u64) {
        if self.state.device_status & FEATURES_OK == 0 {
            self.state.driver_feature = features & self.offered() & !BAD_FEATURE;
        }
    }

    /// A vector as it reads back: one that is no entry of the table is none.
    fn vector(&self, value: u64) -> u16 {
        let vector = value as u16;
        if usize::from(vector) < self.state.msix.entries.len() { vector } else { NO_VECTOR }
    }

    fn write_common(&mut self, offset: u64, value: u64, fx: &mut Effects) {
        let set_low = |place: &mut u64| *place = *place & !0xffff_ffff | value & 0xffff_ffff;
        let set_high = |place: &mut u64| *place = *place & 0xffff_ffff | value << 32;
        let (vector, most) = (self.vector(value), F::queue_size(self.facts));
        let selected = self.state.queues.get_mut(usize::from(self.state.queue_select));
        match (offset, selected) {
            (0x00, _) => self.state.device_feature_select = value as u32,
            (0x08, _) => self.state.driver_feature_select = value as u32,
            (0x0c, _) => {
                let mut features = self.state.driver_feature;
                match self.state.driver_feature_select {
                    0 => set_low(&mut features),
                    1 => set_high(&mut features),
                    _ => {}
                }
                self.accept(features & !OF_LEGACY);
            }
            (0x10, _) => self.state.msix_config = vector,
            (0x14, _) => self.set_status(value as u8, fx),
            (0x16, _) => self.select(value),
            (0x18, Some(queue)) => {
                // A power of two that is not more than offered (section 4.1.4.3.2).
                let size = value as u16;
                if size.is_power_of_two() && size <= most {
                    queue.queue_size = size;
                }
            }
            (0x1a, Some(queue)) => queue.queue_msix_vector = vector,
            (0x1c, Some(queue)) => queue.queue_enable |= value == 1,
            (0x20, Some(queue)) => set_low(&mut queue.queue_desc),
            (0x24, Some(queue)) => set_high(&mut queue.queue_desc),
            (0x28, Some(queue)) => set_low(&mut queue.queue_driver),
            (0x2c, Some(queue)) => set_high(&mut queue.queue_driver),
            (0x30, Some(queue)) => set_low(&mut queue.queue_device),
            (0x34, Some(queue)) => set_high(&mut queue.queue_device),
            // No request is under way between two accesses, so it is done at once.
            (0x3a, Some(queue)) if self.facts.queue_reset && value == 1 => queue.reset(most),
            _ => fx.note("virtio common configuration", offset, value),
        }
    }

    /// Reads a page of the modern interface.
    fn read_modern(&mut self, index: u8, offset: u64, size: u8, fx: &mut Effects) -> u64 {
        match index {
            range::COMMON => value_of(&self.common_registers(), offset, size).unwrap_or(0),
            range::ISR => {
                let isr = self.state.isr;
                self.acknowledge(fx);
                isr.into()
            }
            range::DEVICE => value_of(&self.function.config(self.facts), offset, size).unwrap_or(u64::MAX),
            _ => 0,
        }
    }

    fn write_modern(&mut self, index: u8, offset: u64, value: u64, fx: &mut Effects) {
        match index {
            range::COMMON => self.write_common(offset, value, fx),
            range::DEVICE => self.function.config_write(offset, value),
            // What is written says nothing more than where it is.
            range::NOTIFY => self.notify(offset / self.facts.notify_off_multiplier(), fx),
            _ => {}
        }
    }

    /// Where the window in configuration space leads now: range, offset, bytes.
    fn window(&self) -> Option<(u8, u64, u8)> {
        let config = &self.state.config;
        let (offset, length) = (u64::from(config.get_u32(WINDOW + 8)), config.get_u32(WINDOW + 12));
        let size = u8::try_from(length).ok().filter(|size| matches!(size, 1 | 2 | 4))?;
        let inside = offset.is_multiple_of(size.into()) && offset < self.facts.modern_length();
        let modern = self.facts.interface.is_modern() && config.get(WINDOW + 4) == MODERN_BAR_NUMBER;
        let page = (offset / PAGE).min((range::NOTIFY - range::COMMON).into());
        (inside && modern).then(|| (range::COMMON + page as u8, offset - page * PAGE, size))
    }

    /// First addresses of the ports, the MSI-X table and the modern interface, where they answer.
    fn bases(&self) -> [Option<u64>; 3] {
        let config = &self.state.config;
        let command = config.get_u16(pci::COMMAND);
        let enabled = |bit: u16, base: u64, length: u64, end: u64| {
            let inside = base.checked_add(length).is_some_and(|behind| behind <= end);
            (command & bit != 0 && base != 0 && inside).then_some(base)
        };
        let length = legacy_length(&self.function, self.facts);
        let ports = u64::from(config.get_u32(LEGACY_BAR)) & !(length - 1);
        let table = u64::from(config.get_u32(MSIX_BAR)) & !(MSIX_LENGTH - 1);
        let modern_length = self.facts.modern_length();
        let modern = u64::from(config.get_u32(MODERN_BAR + 4)) << 32
            | u64::from(config.get_u32(MODERN_BAR)) & !(modern_length - 1);
        [
            enabled(1, ports, length, 1 << 16).filter(|_| self.facts.interface.is_legacy()),
            enabled(2, table, MSIX_LENGTH, 0xffff_ffff).filter(|_| F::has_msix(self.facts)),
            enabled(2, modern, modern_length, u64::MAX).filter(|_| self.facts.interface.is_modern()),
        ]
    }

    /// Serves one request, if there is one; or the queue that makes no sense.
    fn serve(&mut self, memory: &mut dyn GuestMemory, fx: &mut Effects) -> Result<(), (usize, Broken)> {
        let event_index = self.accepted(EVENT_IDX);
        let count = self.state.queues.len();
        let first = usize::from(self.state.turn);
        let mut taken = None;
        for number in (first..first + count).map(|number| number % count) {
            let Some(queue) = self.state.queues.get_mut(number) else { continue };
            taken = queue.take(memory, event_index).map_err(|broken| (number, broken))?;
            if let Some(chain) = &taken {
                let served = self.function.serve(chain, memory).map_err(|broken| (number, broken))?;
                queue.give_back(chain.head, served, memory);
                let emptied = queue.is_empty(memory);
                let wanted = queue.wants_interrupt(memory, event_index);
                let vector = queue.queue_msix_vector;
                self.state.turn = ((number + 1) % count) as u16;
                if wanted || emptied && self.accepted(NOTIFY_ON_EMPTY) {
                    self.interrupt_for(ISR_QUEUE, vector, fx);
                }
                break;
            }
        }
        let more = self.state.queues.iter().any(|queue| queue.queue_enable && !queue.is_empty(memory));
        if taken.is_some() && more {
            self.state.due = Some(fx.now().after(self.function.latency_ns().max(1)));
        }
        Ok(())
    }
}

impl<S> State<S> {
    /// The same with another function's state.
    fn with<T>(self, function: T) -> State<T> {
        let State {
            config,
            msix,
            device_feature_select,
            driver_feature_select,
            driver_feature,
            device_status,
            isr,
            msix_config,
            queue_select,
            queues,
            turn,
            due,
            function: _,
        } = self;
        State {
            config,
            msix,
            device_feature_select,
            driver_feature_select,
            driver_feature,
            device_status,
            isr,
            msix_config,
            queue_select,
            queues,
            turn,
            due,
            function,
        }
    }
}

/// Bytes of the legacy interface's range of ports: a power of two.
fn legacy_length<F: Function>(function: &F, facts: Facts) -> u64 {
    let header = if F::has_msix(facts) { LEGACY_LENGTH_WITH_VECTORS } else { LEGACY_LENGTH };
    (header + function.config(facts).len() as u64).next_power_of_two()
}

/// The `size` bytes at `offset`, if all are there.
fn value_of(bytes: &[u8], offset: u64, size: u8) -> Option<u64> {
    let start = usize::try_from(offset).ok()?;
    let taken = bytes.get(start..start.checked_add(size.into())?)?;
    Some(taken.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

impl<F: Function> Chip for Virtio<F> {
    fn regions(&self) -> Vec<Region> {
        let [ports, table, modern] = self.bases();
        let region = |index: u8, space: Space, base: u64, length: u64| Region {
            index,
            name: F::IDENTITY.regions.get(usize::from(index)).copied().unwrap_or("virtio-pci"),
            space,
            base,
            length,
            widest: 4,
        };
        let length = legacy_length(&self.function, self.facts);
        let ports = ports.map(|base| region(range::LEGACY, Space::Io, base, length));
        let table = table.map(|base| region(range::MSIX, Space::Memory, base, MSIX_LENGTH));
        let pages = modern.into_iter().flat_map(|base| {
            [range::COMMON, range::ISR, range::DEVICE, range::NOTIFY].map(|index| {
                let page = index - range::COMMON;
                region(index, Space::Memory, base + u64::from(page) * PAGE, self.facts.length_of(page))
            })
        });
        ports.into_iter().chain(table).chain(pages).collect()
    }

    fn register_name(&self, index: u8, offset: u64, _write: bool) -> Option<String> {
        let named = |names: &[(u64, u8, &str)]| {
            let found =
                names.iter().find(|(first, bytes, _)| (*first..first + u64::from(*bytes)).contains(&offset));
            found.map(|(_, _, name)| (*name).to_owned())
        };
        match index {
            range::LEGACY if offset >= self.legacy_header() => {
                Some(format!("config+{:#x}", offset - self.legacy_header()))
            }
            range::LEGACY => named(&LEGACY),
            range::MSIX if offset >= PENDING_BITS => Some("PBA".to_owned()),
            range::MSIX => {
                let part = ["address", "address_high", "data", "control"]
                    .get((offset % msix::ENTRY / 4) as usize)?;
                Some(format!("vector{}.{part}", offset / msix::ENTRY))
            }
            range::COMMON => named(&COMMON),
            range::ISR => (offset == 0).then(|| "ISR".to_owned()),
            range::DEVICE => Some(format!("config+{offset:#x}")),
            range::NOTIFY => Some(format!("notify{}", offset / self.facts.notify_off_multiplier())),
            _ => None,
        }
    }

    fn config_register_name(&self, offset: u8) -> Option<String> {
        let msix = F::has_msix(self.facts).then(|| msix_at(self.facts));
        match offset {
            _ if self.facts.interface.is_modern() && (WINDOW_DATA..WINDOW_DATA + 4).contains(&offset) => {
                Some("pci_cfg_data".to_owned())
            }
            _ if msix
                .is_some_and(|at| offset == at + MESSAGE_CONTROL || offset == at + MESSAGE_CONTROL + 1) =>
            {
                Some("MSIX_MESSAGE_CONTROL".to_owned())
            }
            _ => pci::register_name(offset).map(str::to_owned),
        }
    }

    fn read(&mut self, index: u8, offset: u64, size: u8, fx: &mut Effects) -> u64 {
        match index {
            range::LEGACY => self.read_legacy(offset, size, fx),
            range::MSIX if offset >= PENDING_BITS => {
                value_of(&self.state.msix.pending.to_le_bytes(), offset - PENDING_BITS, size).unwrap_or(0)
            }
            range::MSIX => self.state.msix.read(offset, size),
            _ => self.read_modern(index, offset, size, fx),
        }
    }

    fn write(&mut self, index: u8, offset: u64, size: u8, value: u64, fx: &mut Effects) {
        match index {
            range::LEGACY => self.write_legacy(offset, value, fx),
            range::MSIX if size == 4 => {
                self.state.msix.write(offset, value as u32);
                fx.messages.extend(self.state.msix.unmasked(self.message_control()));
            }
            range::MSIX => fx.note("MSI-X table written not as a dword", offset, value),
            _ => self.write_modern(index, offset, value, fx),
        }
    }

    fn reset(&mut self, kind: ResetKind, fx: &mut Effects) {
        match kind {
            ResetKind::System => {
                self.state.config.reset();
                if F::has_msix(self.facts) {
                    let size = table_size(&self.function);
                    self.state.config.set_u16(msix_at(self.facts) + MESSAGE_CONTROL, size);
                }
            }
            ResetKind::PowerOn => {
                self.state.config = power_on(&self.function, self.facts);
            }
        }
        self.state.msix.reset();
        self.reset_device(fx);
        fx.remap();
    }

    fn deadline(&self) -> Option<Moment> {
        self.state.due
    }

    fn on_deadline(&mut self, fx: &mut Effects) {
        self.state.due = None;
        fx.service();
    }

    fn service(&mut self, memory: &mut dyn GuestMemory, fx: &mut Effects) {
        if self.runs()
            && let Err(broken) = self.serve(memory, fx)
        {
            self.give_up(broken, fx);
        }
    }

    fn pci_config(&self) -> Option<&ConfigSpace> {
        Some(&self.state.config)
    }

    fn config_read(&mut self, offset: u8, size: u8, fx: &mut Effects) -> u32 {
        if (WINDOW_DATA..WINDOW_DATA + 4).contains(&offset)
            && let Some((index, at, bytes)) = self.window()
        {
            let value = self.read_modern(index, at, bytes, fx) as u32;
            self.state.config.set_u32(WINDOW_DATA, value);
        }
        self.state.config.read(offset, size)
    }

    fn config_write(&mut self, offset: u8, size: u8, value: u32, fx: &mut Effects) {
        let before = self.bases();
        self.state.config.write(offset, size, value);
        if before != self.bases() {
            fx.remap();
        }
        if (WINDOW_DATA..WINDOW_DATA + 4).contains(&offset)
            && let Some((index, at, bytes)) = self.window()
        {
            let value =
                u64::from(self.state.config.get_u32(WINDOW_DATA)) & (u64::MAX >> (64 - 8 * u32::from(bytes)));
            self.write_modern(index, at, value, fx);
        }
        fx.messages.extend(self.state.msix.unmasked(self.message_control()));
        self.drive(fx);
    }

    fn sends_messages(&self) -> bool {
        self.message_control() & msix::ENABLE != 0
    }

    fn shift_time(&mut self, delta: i64) {
        if let Some(due) = &mut self.state.due {
            due.shift(delta);
        }
    }
}
