//! The local APIC's registers as model-specific registers 800h-8FFh (Intel SDM volume 3A, section 10.12).
//!
//! What memory-mapped registers ignore, these refuse: reserved bits, writes to what is read-only, and
//! numbers nobody has.

use super::{ApicMessage, Chip as _, Effects, LVT_ENTRIES, LVT_WRITABLE, LocalApic, SVR_ENABLED, register};

/// Writing it interrupts this processor (10.12.11).
const SELF_IPI: u64 = 0x3f;
/// Delivery status and remote IRR of a local vector table entry: they read and are not written.
const LVT_READ_ONLY: u32 = 0x5000;
/// Bits of the interrupt command that exist: vector, mode, destination mode, level, trigger, shorthand,
/// destination.
const ICR_WRITABLE: u64 = 0xffff_ffff_000c_cfff;

impl LocalApic {
    /// The logical id: cluster, and one bit in it (10.12.10.2).
    fn extended_ldr(&self) -> u32 {
        let id = u32::from(self.cpu);
        (id >> 4) << 16 | 1 << (id & 0xf)
    }

    /// Whether a logical destination is this one.
    pub(super) fn matches_extended(&self, destination: u32) -> bool {
        let own = self.extended_ldr();
        destination == ApicMessage::ALL || (destination >> 16 == own >> 16 && destination & own & 0xffff != 0)
    }

    /// The name of register 800h + `number`: that of the memory-mapped one but for what is wider here.
    #[must_use]
    pub fn msr_name(&self, number: u8) -> Option<String> {
        match u64::from(number) {
            register::ICR_LOW => Some("ICR".to_owned()),
            register::ICR_HIGH | register::DFR | register::APR => None,
            other => self.register_name(0, other << 4, false),
        }
    }

    /// RDMSR of register 800h + `number` in x2APIC mode; none where it is refused.
    pub fn read_msr(&mut self, number: u8, fx: &mut Effects) -> Option<u64> {
        let number = u64::from(number);
        Some(match number {
            register::ID => self.cpu.into(),
            register::LDR => self.extended_ldr().into(),
            register::ICR_LOW => self.state.icr,
            register::VERSION
            | register::TPR
            | register::PPR
            | register::SVR
            | register::ISR..=register::IRR_LAST
            | register::ESR
            | register::LVT..=register::LVT_LAST
            | register::INITIAL_COUNT
            | register::CURRENT_COUNT
            | register::DIVIDE => self.read_register(number, fx).into(),
            _ => return None,
        })
    }

    /// WRMSR of register 800h + `number` in x2APIC mode; false where it is refused.
    pub fn write_msr(&mut self, number: u8, value: u64, fx: &mut Effects) -> bool {
        let number = u64::from(number);
        let allowed = match number {
            register::TPR | SELF_IPI => 0xff,
            register::EOI | register::ESR => 0,
            register::SVR => u64::from(SVR_ENABLED | 0xff),
            register::ICR_LOW => ICR_WRITABLE,
            register::LVT..=register::LVT_LAST => {
                let index = (number - register::LVT) as usize % LVT_ENTRIES;
                u64::from(LVT_WRITABLE[index] | LVT_READ_ONLY)
            }
            register::INITIAL_COUNT => 0xffff_ffff,
            register::DIVIDE => 0xb,
            _ => return false,
        };
        if value & !allowed != 0 {
            return false;
        }
        match number {
            SELF_IPI => {
                let icr = std::mem::replace(&mut self.state.icr, value | 1 << 18);
                self.send(fx);
                self.state.icr = icr;
            }
            register::ICR_LOW => {
                self.state.icr = value;
                self.send(fx);
            }
            _ => self.write_register(number, value as u32, fx),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::{BASE, BASE_ENABLE, BASE_EXTENDED};
    use super::*;
    use crate::Moment;

    fn extended(cpu: u8) -> LocalApic {
        let mut apic = LocalApic::new(cpu, 0x14).with_x2apic(true);
        apic.set_base(BASE | BASE_ENABLE | BASE_EXTENDED, &mut Effects::at(Moment(0)));
        assert!(apic.is_extended() && apic.regions().is_empty());
        apic
    }

    /// What a write and a read of a register give: none where they are refused.
    #[rstest]
    #[case::id(0x02, None, Some(0x13))]
    #[case::version(0x03, None, Some(0x5_0014))]
    #[case::task_priority(0x08, Some(0x35), Some(0x35))]
    #[case::task_priority_reserved(0x08, Some(0x100), Some(0))]
    #[case::arbitration_is_gone(0x09, None, None)]
    #[case::end_of_interrupt(0x0b, Some(0), None)]
    #[case::end_of_interrupt_of_one(0x0b, Some(1), None)]
    #[case::logical_destination(0x0d, None, Some(0x1_0008))]
    #[case::destination_format_is_gone(0x0e, None, None)]
    #[case::spurious(0x0f, Some(0x1ff), Some(0x1ff))]
    #[case::spurious_reserved(0x0f, Some(0x2ff), Some(0xff))]
    #[case::in_service(0x10, None, Some(0))]
    #[case::command(0x30, Some(0x7_0000_0040), Some(0x7_0000_0040))]
    #[case::command_high_is_gone(0x31, None, None)]
    #[case::timer(0x32, Some(0x2_0040), Some(0x3_0040))]
    #[case::timer_reserved(0x32, Some(0x8_0040), Some(0x1_0000))]
    #[case::count(0x38, Some(7), Some(7))]
    #[case::current_count(0x39, None, Some(0))]
    #[case::itself(0x3f, Some(0x40), None)]
    #[case::beyond(0x40, None, None)]
    fn registers(#[case] number: u8, #[case] written: Option<u64>, #[case] expect: Option<u64>) {
        let mut apic = extended(0x13);
        let mut fx = Effects::at(Moment(0));
        let taken = written.is_some_and(|value| apic.write_msr(number, value, &mut fx));
        let found = apic.read_msr(number, &mut fx);
        assert_eq!(found, expect);
        let kept = written.is_some() && found == written
            || matches!((number, written), (0x0b, Some(0)) | (0x3f, _) | (0x32, Some(0x2_0040)));
        assert_eq!(taken, kept);
    }

    #[rstest]
    #[case::same(0x08, Some("TPR"))]
    #[case::wider(0x30, Some("ICR"))]
    #[case::gone(0x31, None)]
    #[case::new(0x3f, Some("SELF_IPI"))]
    #[case::reserved(0x40, None)]
    fn names(#[case] number: u8, #[case] expect: Option<&str>) {
        assert_eq!(extended(0).msr_name(number).as_deref(), expect);
    }

    #[rstest]
    #[case::physical(0x13, false, true)]
    #[case::another(0x113, false, false)]
    #[case::everybody(u32::MAX, false, true)]
    #[case::cluster(0x1_0008, true, true)]
    #[case::cluster_of_others(0x0_0008, true, false)]
    #[case::others_of_the_cluster(0x1_0007, true, false)]
    fn destinations(#[case] destination: u32, #[case] logical: bool, #[case] expect: bool) {
        let mut sender = extended(0);
        let mut fx = Effects::at(Moment(0));
        let command = u64::from(destination) << 32 | u64::from(logical) << 11 | 0x40;
        assert!(sender.write_msr(0x30, command, &mut fx));
        assert_eq!(extended(0x13).matches(&fx.messages[0]), expect);
    }

    #[test]
    fn off_and_on() {
        let mut apic = extended(3);
        let mut fx = Effects::at(Moment(0));
        apic.set_base(BASE, &mut fx);
        assert!(!apic.is_enabled() && !apic.is_extended());
        apic.set_base(BASE | BASE_ENABLE, &mut fx);
        assert!(apic.is_enabled() && !apic.is_extended() && apic.regions().len() == 1);
    }
}
