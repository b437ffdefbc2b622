//! A generation with one field changed, for each field: what a test must notice if the field matters.

use std::fmt::Debug;

use warmboot_chipset::port92::ResetBit;
use warmboot_cpu::Hypervisor;

use super::{Access, Generation, PamModes, Suspend};
use crate::reset::{Chips, Processor, ResetPath, ResetRow};

/// One fact of a generation, changed.
#[derive(Clone, PartialEq, Debug)]
pub struct Variation {
    /// Which field; `resets.keyboard.chips` for one in the reset table.
    pub field: String,
    /// Its value in the original.
    pub was: String,
    /// Its value here.
    pub now: String,
    /// The original but for that field. It keeps the original's name.
    pub generation: Generation,
}

/// A field's other values.
trait Others: Copy + Debug {
    fn others(self) -> Vec<Self>;
}

/// Implements [`Others`] for types whose values can be listed.
macro_rules! values {
    ($($type:ty: [$($value:expr),* $(,)?];)*) => {
        $(impl Others for $type {
            fn others(self) -> Vec<Self> {
                [$($value),*].into_iter().filter(|value| *value != self).collect()
            }
        })*
    };
}

values! {
    bool: [false, true];
    // Of all bytes, the one that firmware looks for and the one an empty bus gives.
    u8: [0xe9, 0xff];
    Access: [Access::ReadOnly, Access::ReadWrite];
    PamModes: [PamModes::Inert, PamModes::WriteOnlyIsPci, PamModes::WriteOnlyIsRam, PamModes::Separate];
    ResetBit: [ResetBit::Ignored, ResetBit::Level, ResetBit::Edge];
    Option<ResetBit>: [None, Some(ResetBit::Ignored), Some(ResetBit::Level), Some(ResetBit::Edge)];
    Suspend: [Suspend::Waits, Suspend::ResumesAtOnce];
    Hypervisor: [Hypervisor::None, Hypervisor::Silent, Hypervisor::Unnamed, Hypervisor::Tcg, Hypervisor::Kvm];
    Processor: [Processor::Reset, Processor::Init];
    Chips: [Chips::All, Chips::None];
}

impl Generation {
    /// This generation with one field changed, for each field and each other value it can have.
    #[must_use]
    pub fn variations(&self) -> Vec<Variation> {
        // A new field does not compile until it stands here.
        let Generation {
            name: _,
            about: _,
            pam,
            pam_reset,
            ram_hole,
            smram,
            smram_lock,
            smi,
            smm_marked_initialised,
            pm_ports_survive_reset,
            bios_low,
            bios_high,
            bios_restored,
            option_roms,
            rom_sockets,
            debug_port_reads,
            unmapped_reads,
            lint0_ext_int,
            hypervisor,
            unknown_msrs_ignored,
            microcode_revision,
            port_92_reset,
            port_cf9_reset,
            shutdown_port,
            reset_clears_shutdown_status,
            suspend_marks_cmos,
            suspend,
            post_load_shadow_bios,
            resets: _,
        } = *self;
        let mut all = Vec::new();
        macro_rules! vary {
            ($($field:ident),* $(,)?) => {
                $(for other in $field.others() {
                    let generation = Generation { $field: other, ..*self };
                    all.push(variation(stringify!($field), &$field, &other, generation));
                })*
            };
        }
        vary!(
            pam,
            pam_reset,
            ram_hole,
            smram,
            smram_lock,
            smi,
            smm_marked_initialised,
            pm_ports_survive_reset,
            bios_low,
            bios_high,
            bios_restored,
            option_roms,
            rom_sockets,
            debug_port_reads,
            unmapped_reads,
            lint0_ext_int,
            hypervisor,
            unknown_msrs_ignored,
            microcode_revision,
            port_92_reset,
            port_cf9_reset,
            shutdown_port,
            reset_clears_shutdown_status,
            suspend_marks_cmos,
            suspend,
            post_load_shadow_bios,
        );
        for (name, path) in ResetPath::ALL {
            self.vary_reset(name, *path, &mut all);
        }
        all
    }

    /// The same for one row of the reset table.
    fn vary_reset(&self, name: &str, path: ResetPath, all: &mut Vec<Variation>) {
        let row = self.reset(path);
        let ResetRow { processor, chips } = row;
        macro_rules! vary {
            ($($field:ident),*) => {
                $(for other in $field.others() {
                    let mut generation = *self;
                    *generation.resets.row_mut(path) = ResetRow { $field: other, ..row };
                    let field = format!("resets.{name}.{}", stringify!($field));
                    all.push(variation(&field, &$field, &other, generation));
                })*
            };
        }
        vary!(processor, chips);
    }
}

fn variation(field: &str, was: &impl Debug, now: &impl Debug, generation: Generation) -> Variation {
    Variation { field: field.to_owned(), was: format!("{was:?}"), now: format!("{now:?}"), generation }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::ALL;

    /// Each variation differs from its original in the field it names and in no other.
    #[test]
    fn one_field_each() {
        for original in ALL {
            let whole = serde_json::to_value(original).expect("plain data");
            for variation in original.variations() {
                let changed = serde_json::to_value(variation.generation).expect("plain data");
                let path: Vec<String> =
                    variation.field.split('.').map(|name| name.replace('-', "_")).collect();
                let mut expect = whole.clone();
                let pointer = format!("/{}", path.join("/"));
                let new = changed.pointer(&pointer).expect("a field of that name").clone();
                let old = expect.pointer_mut(&pointer).expect("a field of that name");
                assert_ne!(*old, new, "{}", variation.field);
                *old = new;
                assert_eq!(changed, expect, "{}", variation.field);
            }
        }
    }

    /// Every field but the name and the sentence about it is varied.
    #[test]
    fn every_field() {
        let original = ALL[0];
        let whole = serde_json::to_value(original).expect("plain data");
        let fields: BTreeSet<&str> = whole.as_object().expect("a table").keys().map(String::as_str).collect();
        let variations = original.variations();
        let mut varied: BTreeSet<&str> =
            variations.iter().filter_map(|variation| variation.field.split('.').next()).collect();
        varied.extend(["name", "about"]);
        assert_eq!(varied, fields);
    }
}
