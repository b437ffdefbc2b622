//! The slots of PCI bus 0, with the ISA bridge's devices in one of them.

use super::{A0, A1, A2, A3, L0, SLOTS, bits, field, name, panic_port, parallel_port, ports, serial_port};
use crate::tables::Description;
use crate::tables::terms::{Encoded, IsaDma, IsaInterrupt, NOWHERE, encode, encode_all};
use acpi_tables::Aml;
use acpi_tables::aml::{
    And, BufferData, Device, EISAName, FieldAccessType, FieldUpdateRule, If, Method, MethodCall, Name,
    Notify, OpRegion, OpRegionSpace, Package, Path, ResourceTemplate, Return, Scope, Store, ZERO,
};
use warmboot_chipset::floppy::FloppyKind;

/// The host bridge's slot and the chipset's, which stay; the others can be plugged.
const FIRST_PLUGGABLE_SLOT: u8 = 2;

/// `S00_`, `S08_`…: named by device and function.
fn slot_name(slot: u8) -> Path {
    name(&format!("S{:02X}_", slot << 3))
}

pub(super) fn pci_slots(description: &Description) -> Vec<u8> {
    let slots: Vec<u8> = (0..SLOTS).flat_map(|slot| pci_slot(slot, description)).collect();
    let tell_slots: Vec<u8> = (FIRST_PLUGGABLE_SLOT..SLOTS)
        .filter(|slot| Some(*slot) != description.vga_slot)
        .flat_map(|slot| {
            encode(&If::new(
                &And::new(&NOWHERE, &A0, &(1u32 << slot)),
                vec![&Notify::new(&slot_name(slot), &A1)],
            ))
        })
        .collect();
    let inserted = 1u8;
    let ejected = 3u8;
    encode(&Scope::new(
        name("\\_SB_"),
        vec![&Scope::new(
            name("PCI0"),
            vec![
                &Name::new(name("BSEL"), &ZERO),
                &Encoded(slots),
                &Method::new(name("DVNT"), 2, false, vec![&Encoded(tell_slots)]),
                &Method::new(
                    name("PCNT"),
                    0,
                    false,
                    vec![
                        &Store::new(&name("BNUM"), &ZERO),
                        &MethodCall::new(name("DVNT"), vec![&name("PCIU"), &inserted]),
                        &MethodCall::new(name("DVNT"), vec![&name("PCID"), &ejected]),
                    ],
                ),
            ],
        )],
    ))
}

fn pci_slot(slot: u8, description: &Description) -> Vec<u8> {
    const CHIPSET_SLOT: u8 = 1;
    let label = Encoded::of(&Package::new(vec![&name("BSEL"), &name("ASUN")]));
    let mut children = encode_all(&[
        &Name::new(name("_ADR"), &(u32::from(slot) << 16)),
        &Name::new(name("ASUN"), &slot),
        &Method::new(
            name("_DSM"),
            4,
            true,
            vec![
                &Store::new(&L0, &label),
                &Return::new(&MethodCall::new(name("PDSM"), vec![&A0, &A1, &A2, &A3, &L0])),
            ],
        ),
    ]);
    if slot == CHIPSET_SLOT {
        children.extend(isa_bridge(description));
    }
    if Some(slot) == description.vga_slot {
        children.extend(display_states());
    } else if slot >= FIRST_PLUGGABLE_SLOT {
        children.extend(encode_all(&[
            &Name::new(name("_SUN"), &slot),
            &Method::new(
                name("_EJ0"),
                1,
                false,
                vec![&MethodCall::new(name("PCEJ"), vec![&name("BSEL"), &name("_SUN")])],
            ),
        ]));
    }
    encode(&Device::new(slot_name(slot), vec![&Encoded(children)]))
}

/// A display adapter's device state in each sleep state: it has its power.
fn display_states() -> Vec<u8> {
    ["_S1D", "_S2D", "_S3D"]
        .into_iter()
        .flat_map(|state| encode(&Method::new(name(state), 0, false, vec![&Return::new(&ZERO)])))
        .collect()
}

/// The PIRQRC registers, and the devices on the ISA bus.
fn isa_bridge(description: &Description) -> Vec<u8> {
    let registers = encode_all(&[
        &OpRegion::new(name("P40C"), OpRegionSpace::PCIConfig, &0x60u8, &4u8),
        &Scope::new(
            name("\\_SB_"),
            vec![&field(
                "PCI0.S08_.P40C",
                FieldAccessType::Byte,
                FieldUpdateRule::Preserve,
                vec![bits(b"PRQ0", 8), bits(b"PRQ1", 8), bits(b"PRQ2", 8), bits(b"PRQ3", 8)],
            )],
        ),
    ]);
    let keyboard_and_mouse = encode_all(&[
        &Device::new(
            name("KBD_"),
            vec![
                &Name::new(name("_HID"), &EISAName::new("PNP0303")),
                &Name::new(name("_STA"), &0x0fu8),
                &Name::new(
                    name("_CRS"),
                    &ResourceTemplate::new(vec![&ports(0x60, 1, 1), &ports(0x64, 1, 1), &IsaInterrupt(1)]),
                ),
            ],
        ),
        &Device::new(
            name("MOU_"),
            vec![
                &Name::new(name("_HID"), &EISAName::new("PNP0F13")),
                &Name::new(name("_STA"), &0x0fu8),
                &Name::new(name("_CRS"), &ResourceTemplate::new(vec![&IsaInterrupt(12)])),
            ],
        ),
    ]);
    let clock = encode(&Device::new(
        name("RTC_"),
        vec![
            &Name::new(name("_HID"), &EISAName::new("PNP0B00")),
            &Name::new(name("_CRS"), &ResourceTemplate::new(vec![&ports(0x70, 1, 8), &IsaInterrupt(8)])),
        ],
    ));
    [
        registers,
        panic_port(description),
        keyboard_and_mouse,
        floppy_controller(description),
        parallel_port(description),
        serial_port(description),
        clock,
    ]
    .concat()
}

fn floppy_controller(description: &Description) -> Vec<u8> {
    let mut drives = Vec::new();
    for (number, (device, drive)) in (0u8..).zip(["FLPA", "FLPB"].into_iter().zip(description.floppies)) {
        if let Some(drive) = drive {
            drives.extend(floppy_drive(device, number, drive));
        }
    }
    // _FDE: a dword for each of four drives, then whether there is a tape: 2 is "unknown".
    let mut enumeration = vec![0; 20];
    for (place, drive) in enumeration.iter_mut().step_by(4).zip(description.floppies) {
        *place = u8::from(drive.is_some());
    }
    if let Some(tape) = enumeration.get_mut(16) {
        *tape = 2;
    }
    encode(&Device::new(
        name("FDC0"),
        vec![
            &Name::new(name("_HID"), &EISAName::new("PNP0700")),
            &Name::new(
                name("_CRS"),
                &ResourceTemplate::new(vec![
                    &ports(0x3f2, 0, 4),
                    &ports(0x3f7, 0, 1),
                    &IsaInterrupt(6),
                    &IsaDma(2),
                ]),
            ),
            &Encoded(drives),
            &Name::new(name("_FDE"), &BufferData::new(enumeration)),
        ],
    ))
}

/// `_FDI`: what INT 13h function 8 and the diskette parameter table say.
fn floppy_drive(device: &str, number: u8, drive: FloppyKind) -> Vec<u8> {
    const LAST_HEAD: u8 = 1;
    /// Specify commands, motor timings and format bytes of the diskette parameter table.
    const PARAMETERS: [u8; 11] = [0xaf, 0x02, 0x25, 0x02, 0x12, 0x1b, 0xff, 0x6c, 0xf6, 0x0f, 0x08];
    // The last cylinder and the most sectors of any format that the drive takes.
    let (last_cylinder, sectors) = match drive {
        FloppyKind::Mb120 => (0x52, 0x14),
        FloppyKind::Mb144 => (0x52, 0x18),
        FloppyKind::Mb288 => (0x4f, 0x30),
    };
    let mut values = vec![number, drive.cmos_type(), last_cylinder, sectors, LAST_HEAD];
    values.extend(PARAMETERS);
    let values: Vec<&dyn Aml> = values.iter().map(|value| value as &dyn Aml).collect();
    encode(&Device::new(
        name(device),
        vec![&Name::new(name("_ADR"), &number), &Name::new(name("_FDI"), &Package::new(values))],
    ))
}
