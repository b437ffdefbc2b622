//! The DSDT of a Q35 machine. Nothing can be plugged here, so no slot has methods for it.

use super::{
    A0, A1, A3, Description, HIDDEN, L0, bits, debug_output, field, firmware_configuration, hpet, name,
    panic_port, parallel_port, ports, serial_port, sleep_states,
};
use crate::tables::terms::{
    Encoded, IsaInterrupt, LinkInterrupts, NOWHERE, Processor, Root, encode, encode_all,
};
use crate::tables::{FOUR_GIB, ram_layout};
use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, CreateDWordField, Device, EISAName, Else, Equal,
    FieldAccessType, FieldUpdateRule, If, LessThan, Memory32Fixed, Method, Name, NotEqual, ONE, OpRegion,
    OpRegionSpace, Or, Package, ResourceTemplate, Return, Scope, Store, Uuid, ZERO,
};

/// The configuration window of 256 MiB, where firmware puts it.
const CONFIG_WINDOW: (u32, u32) = (0xb000_0000, 0x1000_0000);
/// The ICH9's configuration registers, where firmware puts them.
const CHIPSET_REGISTERS: (u32, u32) = (0xfed1_c000, 0x4000);
const IO_APIC: u32 = 0xfec0_0000;

/// The links with their registers and the interrupt of the I/O APIC that each stands for.
const LINKS: [(&str, &str, u32); 8] = [
    ("LNKA", "PRQA", 16),
    ("LNKB", "PRQB", 17),
    ("LNKC", "PRQC", 18),
    ("LNKD", "PRQD", 19),
    ("LNKE", "PRQE", 20),
    ("LNKF", "PRQF", 21),
    ("LNKG", "PRQG", 22),
    ("LNKH", "PRQH", 23),
];

/// The AML after the table's header.
pub(super) fn body(description: &Description) -> Vec<u8> {
    [
        debug_output(),
        interrupt_model(),
        pci_bus(),
        lpc_bridge(description),
        interrupt_routing(),
        hpet(),
        processors(description),
        resources(description),
        sleep_states(),
        firmware_configuration(description),
    ]
    .concat()
}

/// `_PIC (model)`: 0 means the two 8259s, 1 the I/O APIC.
fn interrupt_model() -> Vec<u8> {
    let model = encode(&Name::new(name("PICF"), &ZERO));
    let method = encode(&Method::new(name("_PIC"), 1, false, vec![&Store::new(&name("PICF"), &A0)]));
    encode(&Root([model, method].concat()))
}

/// A PCI Express root, and what of it an operating system may take over (PCI Firmware Specification
/// 3.0, 4.5.1).
fn pci_bus() -> Vec<u8> {
    const HOST_BRIDGE: &str = "33db4d5b-1ff7-401c-9657-7441c03dd766";
    const GRANTED: u8 = 0x1e;
    const UNKNOWN_REVISION: u8 = 0x08;
    const MASKED: u8 = 0x10;
    const UNKNOWN_UUID: u8 = 0x04;
    let status = || name("CDW1");
    let add = |bit: u8| Encoded::of(&Or::new(&status(), &status(), &bit));
    let control = encode(&Method::new(
        name("_OSC"),
        4,
        false,
        vec![
            &CreateDWordField::new(&status(), &A3, &ZERO),
            &If::new(
                &Equal::new(&A0, &Uuid::new(HOST_BRIDGE)),
                vec![
                    &CreateDWordField::new(&name("CDW3"), &A3, &8u8),
                    &And::new(&L0, &name("CDW3"), &GRANTED),
                    &If::new(&NotEqual::new(&A1, &ONE), vec![&add(UNKNOWN_REVISION)]),
                    &If::new(&NotEqual::new(&name("CDW3"), &L0), vec![&add(MASKED)]),
                    &Store::new(&name("CDW3"), &L0),
                ],
            ),
            &Else::new(vec![&add(UNKNOWN_UUID)]),
            &Return::new(&A3),
        ],
    ));
    encode(&Scope::new(
        name("_SB_"),
        vec![&Device::new(
            name("PCI0"),
            vec![
                &Name::new(name("_HID"), &EISAName::new("PNP0A08")),
                &Name::new(name("_CID"), &EISAName::new("PNP0A03")),
                &Name::new(name("_ADR"), &ZERO),
                &Name::new(name("_UID"), &ZERO),
                &Encoded(control),
            ],
        )],
    ))
}

/// Function 31.0: the PIRQ routing registers, and what stands behind the bridge.
fn lpc_bridge(description: &Description) -> Vec<u8> {
    let routing = |region: &str, offset: u8, fields: [&[u8; 4]; 4]| {
        let mut bytes = encode(&OpRegion::new(name(region), OpRegionSpace::PCIConfig, &offset, &4u8));
        let entries = fields.into_iter().map(|field| bits(field, 8)).collect();
        bytes.extend(encode(&field(region, FieldAccessType::Byte, FieldUpdateRule::Preserve, entries)));
        Encoded(bytes)
    };
    let device = |device: &str, id: &'static str, resources: Vec<&dyn Aml>| {
        Encoded::of(&Device::new(
            name(device),
            vec![
                &Name::new(name("_HID"), &EISAName::new(id)),
                &Name::new(name("_STA"), &0x0fu8),
                &Name::new(name("_CRS"), &ResourceTemplate::new(resources)),
            ],
        ))
    };
    encode(&Scope::new(
        name("\\_SB_.PCI0"),
        vec![&Device::new(
            name("ISA_"),
            vec![
                &Name::new(name("_ADR"), &0x001f_0000u32),
                &routing("PIRA", 0x60, [b"PRQA", b"PRQB", b"PRQC", b"PRQD"]),
                &routing("PIRE", 0x68, [b"PRQE", b"PRQF", b"PRQG", b"PRQH"]),
                &Encoded(panic_port(description)),
                &device("KBD_", "PNP0303", vec![&ports(0x60, 1, 1), &ports(0x64, 1, 1), &IsaInterrupt(1)]),
                &device("MOU_", "PNP0F13", vec![&IsaInterrupt(12)]),
                &Encoded(parallel_port(description)),
                &Encoded(serial_port(description)),
                &device("RTC_", "PNP0B00", vec![&ports(0x70, 1, 8), &IsaInterrupt(8)]),
            ],
        )],
    ))
}

/// `_PRT` and the links. The functions of device 31 have their pins A-D at PIRQA-PIRQD; pin P of
/// another slot S is at PIRQ E-H number (S + P) mod 4.
fn interrupt_routing() -> Vec<u8> {
    let mut links = Vec::new();
    for (number, (link, register, _)) in (0u8..).zip(LINKS) {
        links.extend(link_device(link, number, register));
    }
    let table = |interrupt_controllers: bool| {
        let entries = (0..32u32).flat_map(|slot| (0..4u32).map(move |pin| (slot, pin))).map(|(slot, pin)| {
            let index = if slot == 31 { pin } else { 4 + (slot + pin) % 4 };
            let address = slot << 16 | 0xffff;
            let (link, _, interrupt) = LINKS[index as usize & 7];
            let link = name(&format!("\\_SB_.{link}"));
            if interrupt_controllers {
                Encoded::of(&Package::new(vec![&address, &pin, &link, &ZERO]))
            } else {
                Encoded::of(&Package::new(vec![&address, &pin, &ZERO, &interrupt]))
            }
        });
        let entries: Vec<Encoded> = entries.collect();
        Encoded::of(&Package::new(entries.iter().map(|entry| entry as &dyn Aml).collect()))
    };
    encode(&Scope::new(
        name("\\_SB_"),
        vec![
            &Encoded(links),
            &Scope::new(
                name("PCI0"),
                vec![
                    &Name::new(name("PRTP"), &table(true)),
                    &Name::new(name("PRTA"), &table(false)),
                    &Method::new(
                        name("_PRT"),
                        0,
                        false,
                        vec![
                            &If::new(&Equal::new(&name("\\PICF"), &ZERO), vec![&Return::new(&name("PRTP"))]),
                            &Return::new(&name("PRTA")),
                        ],
                    ),
                ],
            ),
        ],
    ))
}

/// A link to one of interrupts 5, 10 and 11 of the 8259s, chosen in a register of the LPC bridge.
fn link_device(link: &str, number: u8, register: &str) -> Vec<u8> {
    const DISABLED: u8 = 0x80;
    let register = name(&format!("\\_SB_.PCI0.ISA_.{register}"));
    encode(&Device::new(
        name(link),
        vec![
            &Name::new(name("_HID"), &EISAName::new("PNP0C0F")),
            &Name::new(name("_UID"), &number),
            &Name::new(name("_PRS"), &ResourceTemplate::new(vec![&LinkInterrupts(&[5, 10, 11])])),
            &Method::new(
                name("_STA"),
                0,
                false,
                vec![
                    &If::new(&And::new(&NOWHERE, &register, &DISABLED), vec![&Return::new(&9u8)]),
                    &Return::new(&HIDDEN),
                ],
            ),
            &Method::new(name("_DIS"), 0, false, vec![&Or::new(&register, &register, &DISABLED)]),
            &Method::new(
                name("_CRS"),
                0,
                true,
                vec![
                    &Name::new(name("PRR0"), &ResourceTemplate::new(vec![&LinkInterrupts(&[0])])),
                    &CreateDWordField::new(&name("PRRI"), &name("PRR0"), &5u8),
                    &If::new(
                        &LessThan::new(&register, &DISABLED),
                        vec![&Store::new(&name("PRRI"), &register)],
                    ),
                    &Return::new(&name("PRR0")),
                ],
            ),
            &Method::new(
                name("_SRS"),
                1,
                false,
                vec![&CreateDWordField::new(&name("PRRI"), &A0, &5u8), &Store::new(&register, &name("PRRI"))],
            ),
        ],
    ))
}

fn processors(description: &Description) -> Vec<u8> {
    let mut processors = Vec::new();
    for id in 0..description.cpus.min(255) as u8 {
        let path = name(&format!("C{id:03X}"));
        processors.extend(encode(&Processor { path, id, children: Vec::new() }));
    }
    encode(&Scope::new(name("\\_SB_"), vec![&Encoded(processors)]))
}

/// What the host bridge passes to PCI, and what belongs to no device of it.
fn resources(description: &Description) -> Vec<u8> {
    const GIB: u64 = 1 << 30;
    const HIGH_WINDOW_BYTES: u64 = 32 * GIB;
    let (below, above) = ram_layout(description.machine_type, description.memory);
    let window_end = CONFIG_WINDOW.0 + CONFIG_WINDOW.1;
    let low = below.min(u64::from(CONFIG_WINDOW.0)) as u32;
    let high = FOUR_GIB.saturating_add(above).div_ceil(GIB).saturating_mul(GIB);
    let high_end = high.saturating_add(HIGH_WINDOW_BYTES - 1);
    let (cacheable, not_cacheable) = (AddressSpaceCacheable::Cacheable, AddressSpaceCacheable::NotCacheable);
    let mut windows = encode_all(&[
        &AddressSpace::new_bus_number(0u16, 0xff),
        &ports(0xcf8, 1, 8),
        &AddressSpace::new_io(0u16, 0xcf7, None),
        &AddressSpace::new_io(0xd00u16, 0xffff, None),
        &AddressSpace::new_memory(cacheable, true, 0xa_0000u32, 0xb_ffff, None),
    ]);
    if low < CONFIG_WINDOW.0 {
        windows.extend(encode(&AddressSpace::new_memory(
            not_cacheable,
            true,
            low,
            CONFIG_WINDOW.0 - 1,
            None,
        )));
    }
    windows.extend(encode_all(&[
        &AddressSpace::new_memory(not_cacheable, true, window_end, IO_APIC - 1, None),
        &AddressSpace::new_memory(cacheable, true, high, high_end, None),
    ]));
    let reserved = |device: &str, uid: u8, ranges: &[(u32, u32)]| {
        let ranges: Vec<Memory32Fixed> =
            ranges.iter().map(|(base, length)| Memory32Fixed::new(true, *base, *length)).collect();
        Encoded::of(&Device::new(
            name(device),
            vec![
                &Name::new(name("_HID"), &EISAName::new("PNP0C02")),
                &Name::new(name("_UID"), &uid),
                &Name::new(
                    name("_CRS"),
                    &ResourceTemplate::new(ranges.iter().map(|range| range as &dyn Aml).collect()),
                ),
            ],
        ))
    };
    encode(&Scope::new(
        name("\\_SB_"),
        vec![
            &Scope::new(
                name("PCI0"),
                vec![&Name::new(name("_CRS"), &ResourceTemplate::new(vec![&Encoded(windows)]))],
            ),
            &reserved("DRAC", 1, &[CONFIG_WINDOW, CHIPSET_REGISTERS]),
        ],
    ))
}
