//! The Differentiated System Description Table: what an operating system shall know of a machine
//! without asking it. The parts stand in the order in which their names must exist.

mod bitmap;
mod processors;
mod q35;
mod slots;

use acpi_tables::Aml;
use acpi_tables::aml::{
    Acquire, Add, AddressSpace, AddressSpaceCacheable, And, Arg, BufferData, CreateDWordField, DeRefOf,
    Device, EISAName, Else, Equal, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule,
    GreaterThan, IO, If, Index, LessThan, Local, Memory32Fixed, Method, MethodCall, Mutex, Name, NotEqual,
    ONE, OpRegion, OpRegionSpace, Or, Package, Path, Release, ResourceTemplate, Return, Scope, ShiftLeft,
    ShiftRight, SizeOf, Store, Subtract, ToBuffer, Uuid, While, ZERO,
};

use super::acpi::HPET_ADDRESS;
use super::terms::{
    EmptyPackage, Encoded, IsaInterrupt, LinkInterrupts, NOWHERE, Root, either, encode, encode_all,
    increment, not, to_hex_string,
};
use super::{Description, FOUR_GIB, ram_layout};
use crate::machine_types::{AcpiContents, ChipSet, ProcessorHotplug};

const L0: Local = Local(0);
const L1: Local = Local(1);
const L2: Local = Local(2);
const L3: Local = Local(3);
const L4: Local = Local(4);
const A0: Arg = Arg(0);
const A1: Arg = Arg(1);
const A2: Arg = Arg(2);
const A3: Arg = Arg(3);
const A4: Arg = Arg(4);

/// "Wait for ever" in `Acquire`.
const FOR_EVER: u16 = 0xffff;

/// A device that is present, enabled and works, but is not shown.
const HIDDEN: u8 = 0x0b;

/// PCI slots on bus 0.
const SLOTS: u8 = 32;

/// The AML after the table's header.
pub(super) fn body(description: &Description, contents: &AcpiContents) -> Vec<u8> {
    if contents.chip_set == ChipSet::Q35 {
        return q35::body(description);
    }
    [
        debug_output(),
        pci_bus(contents),
        pci_hotplug_registers(),
        interrupt_routing(),
        hpet(),
        general_purpose_events(),
        match contents.processors {
            ProcessorHotplug::Bitmap => bitmap::processors(description),
            ProcessorHotplug::Registers => processors::processors(description),
        },
        pci_bus_resources(description, contents),
        sleep_states(),
        firmware_configuration(description),
        slots::pci_slots(description),
        pci_hotplug_event(),
    ]
    .concat()
}

fn name(text: &str) -> Path {
    Path::new(text)
}

fn field(region: &str, access: FieldAccessType, update: FieldUpdateRule, entries: Vec<FieldEntry>) -> Field {
    Field::new(name(region), access, FieldLockRule::NoLock, update, entries)
}

fn bits(field_name: &[u8; 4], count: usize) -> FieldEntry {
    FieldEntry::Named(*field_name, count)
}

/// A port range of a device: with its `alignment`, decoded with 16 bits.
fn ports(first: u16, alignment: u8, count: u8) -> IO {
    IO::new(first, first, alignment, count)
}

/// COM1, if there is one.
fn serial_port(description: &Description) -> Vec<u8> {
    if !description.serial {
        return Vec::new();
    }
    encode(&Device::new(
        name("COM1"),
        vec![
            &Name::new(name("_HID"), &EISAName::new("PNP0501")),
            &Name::new(name("_UID"), &ONE),
            &Name::new(name("_STA"), &0x0fu8),
            &Name::new(name("_CRS"), &ResourceTemplate::new(vec![&ports(0x3f8, 0, 8), &IsaInterrupt(4)])),
        ],
    ))
}

/// LPT1, if there is one.
fn parallel_port(description: &Description) -> Vec<u8> {
    if !description.parallel {
        return Vec::new();
    }
    encode(&Device::new(
        name("LPT1"),
        vec![
            &Name::new(name("_HID"), &EISAName::new("PNP0400")),
            &Name::new(name("_UID"), &ONE),
            &Name::new(name("_STA"), &0x0fu8),
            &Name::new(name("_CRS"), &ResourceTemplate::new(vec![&ports(0x378, 8, 8), &IsaInterrupt(7)])),
        ],
    ))
}

/// The panic port, if there is one, with methods that read and write it.
fn panic_port(description: &Description) -> Vec<u8> {
    const PORT: u16 = warmboot_chipset::pvpanic::PORT;
    if !description.pvpanic {
        return Vec::new();
    }
    let access = FieldAccessType::Byte;
    encode(&Device::new(
        name("PEVT"),
        vec![
            &Name::new(name("_HID"), &"QEMU0001"),
            &Name::new(name("_CRS"), &ResourceTemplate::new(vec![&ports(PORT, 1, 1)])),
            &OpRegion::new(name("PEOR"), OpRegionSpace::SystemIO, &PORT, &ONE),
            &field("PEOR", access, FieldUpdateRule::Preserve, vec![bits(b"PEPT", 8)]),
            &Name::new(name("_STA"), &0x0fu8),
            &Method::new(name("RDPT"), 0, false, vec![&Store::new(&L0, &name("PEPT")), &Return::new(&L0)]),
            &Method::new(name("WRPT"), 1, false, vec![&Store::new(&name("PEPT"), &A0)]),
        ],
    ))
}

/// `DBUG (text)`: writes a number or text in hexadecimal to the debug port.
fn debug_output() -> Vec<u8> {
    let region = OpRegion::new(name("DBG_"), OpRegionSpace::SystemIO, &0x402u16, &ONE);
    let fields = field("DBG_", FieldAccessType::Byte, FieldUpdateRule::Preserve, vec![bits(b"DBGB", 8)]);
    let method = encode(&Method::new(
        name("DBUG"),
        1,
        false,
        vec![
            &to_hex_string(&L0, &A0),
            &ToBuffer::new(&L0, &L0),
            &Subtract::new(&L1, &SizeOf::new(&L0), &ONE),
            &Store::new(&L2, &ZERO),
            &While::new(
                &LessThan::new(&L2, &L1),
                vec![
                    &Store::new(&name("DBGB"), &DeRefOf::new(&Index::new(&NOWHERE, &L0, &L2))),
                    &increment(&L2),
                ],
            ),
            &Store::new(&name("DBGB"), &b'\n'),
        ],
    ));
    encode(&Root(encode_all(&[&region, &fields, &Encoded(method)])))
}

fn pci_bus(contents: &AcpiContents) -> Vec<u8> {
    encode(&Scope::new(
        name("_SB_"),
        vec![&Device::new(
            name("PCI0"),
            vec![
                &Name::new(name("_HID"), &EISAName::new("PNP0A03")),
                &Name::new(name("_ADR"), &ZERO),
                &Name::new(name("_UID"), &contents.bus_uid),
            ],
        )],
    ))
}

/// The hot-plug controller's ports at AE00h, and the methods that eject a slot and name it.
fn pci_hotplug_registers() -> Vec<u8> {
    let region = |region: &str, port: u16, length: u8, fields: Vec<FieldEntry>| {
        let mut bytes = encode(&OpRegion::new(name(region), OpRegionSpace::SystemIO, &port, &length));
        let access = FieldAccessType::DWord;
        bytes.extend(encode(&field(region, access, FieldUpdateRule::WriteAsZeroes, fields)));
        Encoded(bytes)
    };
    let eject = encode(&Method::new(
        name("PCEJ"),
        2,
        false,
        vec![
            &Acquire::new(name("BLCK"), FOR_EVER),
            &Store::new(&name("BNUM"), &A0),
            &Store::new(&name("B0EJ"), &ShiftLeft::new(&NOWHERE, &ONE, &A1)),
            &Release::new(name("BLCK")),
            &Return::new(&ZERO),
        ],
    ));
    let slot_index = encode(&Method::new(
        name("AIDX"),
        2,
        false,
        vec![
            &Acquire::new(name("BLCK"), FOR_EVER),
            &Store::new(&name("BNUM"), &A0),
            &Store::new(&name("PIDX"), &ShiftLeft::new(&NOWHERE, &ONE, &A1)),
            &Store::new(&L0, &name("PIDX")),
            &Release::new(name("BLCK")),
            &Return::new(&L0),
        ],
    ));
    encode(&Scope::new(
        name("_SB_.PCI0"),
        vec![
            &region("PCST", 0xae00, 8, vec![bits(b"PCIU", 32), bits(b"PCID", 32)]),
            &region("SEJ_", 0xae08, 4, vec![bits(b"B0EJ", 32)]),
            &region("BNMR", 0xae10, 8, vec![bits(b"BNUM", 32), bits(b"PIDX", 32)]),
            &Mutex::new(name("BLCK"), 0),
            &Encoded(eject),
            &Encoded(slot_index),
            &Encoded(slot_label()),
        ],
    ))
}

/// `PDSM`: what every slot's `_DSM` does (PCI Firmware Specification 3.0, 4.6.1 and 4.6.7): tells
/// the slot's number for the operating system, if the controller has given it one.
fn slot_label() -> Vec<u8> {
    const NAMES_DEVICE: u8 = 7;
    let number = Encoded::of(&Store::new(
        &L2,
        &MethodCall::new(
            name("AIDX"),
            vec![
                &DeRefOf::new(&Index::new(&NOWHERE, &A4, &ZERO)),
                &DeRefOf::new(&Index::new(&NOWHERE, &A4, &ONE)),
            ],
        ),
    ));
    let functions = encode(&If::new(
        &Equal::new(&A2, &ZERO),
        vec![
            &Store::new(&L0, &BufferData::new(vec![0])),
            &Store::new(&L1, &ZERO),
            &If::new(
                &NotEqual::new(&A0, &Uuid::new("e5c937d0-3553-4d7a-9117-ea4d19c3434d")),
                vec![&Return::new(&L0)],
            ),
            &If::new(&LessThan::new(&A1, &2u8), vec![&Return::new(&L0)]),
            &number,
            &If::new(
                &not(&Or::new(&NOWHERE, &Equal::new(&L2, &ZERO), &Equal::new(&L2, &0xffff_ffffu32))),
                vec![
                    &Or::new(&L1, &L1, &ONE),
                    &Or::new(&L1, &L1, &ShiftLeft::new(&NOWHERE, &ONE, &NAMES_DEVICE)),
                ],
            ),
            &Store::new(&Index::new(&NOWHERE, &L0, &ZERO), &L1),
            &Return::new(&L0),
        ],
    ));
    let label = encode(&If::new(
        &Equal::new(&A2, &NAMES_DEVICE),
        vec![
            &number,
            &Store::new(&L0, &EmptyPackage(2)),
            &If::new(
                &not(&either(&Equal::new(&L2, &ZERO), &Equal::new(&L2, &0xffff_ffffu32))),
                vec![
                    &Store::new(&Index::new(&NOWHERE, &L0, &ZERO), &L2),
                    &Store::new(&Index::new(&NOWHERE, &L0, &ONE), &""),
                ],
            ),
            &Return::new(&L0),
        ],
    ));
    encode(&Method::new(name("PDSM"), 5, true, vec![&Encoded(functions), &Encoded(label)]))
}

/// `_PRT`, and the five links to interrupts: four PIRQ pins and the SCI.
fn interrupt_routing() -> Vec<u8> {
    let status = encode(&Method::new(
        name("IQST"),
        1,
        false,
        vec![&If::new(&And::new(&NOWHERE, &0x80u8, &A0), vec![&Return::new(&9u8)]), &Return::new(&HIDDEN)],
    ));
    let resources = encode(&Method::new(
        name("IQCR"),
        1,
        true,
        vec![
            &Name::new(name("PRR0"), &ResourceTemplate::new(vec![&LinkInterrupts(&[0])])),
            &CreateDWordField::new(&name("PRRI"), &name("PRR0"), &5u8),
            &If::new(&LessThan::new(&A0, &0x80u8), vec![&Store::new(&name("PRRI"), &A0)]),
            &Return::new(&name("PRR0")),
        ],
    ));
    let mut links = Vec::new();
    for (number, (link, register)) in
        (0..).zip([("LNKA", "PRQ0"), ("LNKB", "PRQ1"), ("LNKC", "PRQ2"), ("LNKD", "PRQ3")])
    {
        links.extend(interrupt_link(link, number, register));
    }
    encode(&Scope::new(
        name("_SB_"),
        vec![
            &Scope::new(name("PCI0"), vec![&Encoded(routing_table())]),
            &Encoded(status),
            &Encoded(resources),
            &Encoded(links),
            &Encoded(sci_link()),
        ],
    ))
}

/// Pin P of slot S is wired to PIRQ (S + P - 1) mod 4; the PM function's pin A is the SCI.
fn routing_table() -> Vec<u8> {
    const PINS: u8 = 4 * SLOTS;
    const PM_PIN: u8 = 4;
    let link = |link: &str| {
        Encoded::of(&Store::new(&L4, &Package::new(vec![&ZERO, &ZERO, &Path::new(link), &ZERO])))
    };
    encode(&Method::new(
        name("_PRT"),
        0,
        false,
        vec![
            &Store::new(&L0, &EmptyPackage(PINS)),
            &Store::new(&L1, &ZERO),
            &While::new(
                &LessThan::new(&L1, &PINS),
                vec![
                    &Store::new(&L2, &ShiftRight::new(&NOWHERE, &L1, &2u8)),
                    &Store::new(&L3, &And::new(&NOWHERE, &Add::new(&NOWHERE, &L1, &L2), &3u8)),
                    &If::new(&Equal::new(&L3, &ZERO), vec![&link("LNKD")]),
                    &If::new(
                        &Equal::new(&L3, &ONE),
                        vec![
                            &If::new(&Equal::new(&L1, &PM_PIN), vec![&link("LNKS")]),
                            &Else::new(vec![&link("LNKA")]),
                        ],
                    ),
                    &If::new(&Equal::new(&L3, &2u8), vec![&link("LNKB")]),
                    &If::new(&Equal::new(&L3, &3u8), vec![&link("LNKC")]),
                    &Store::new(
                        &Index::new(&NOWHERE, &L4, &ZERO),
                        &Or::new(&NOWHERE, &ShiftLeft::new(&NOWHERE, &L2, &16u8), &0xffffu16),
                    ),
                    &Store::new(&Index::new(&NOWHERE, &L4, &ONE), &And::new(&NOWHERE, &L1, &3u8)),
                    &Store::new(&Index::new(&NOWHERE, &L0, &L1), &L4),
                    &increment(&L1),
                ],
            ),
            &Return::new(&L0),
        ],
    ))
}

/// A link to one of interrupts 5, 10 and 11, chosen in a PIRQRC register of the ISA bridge.
fn interrupt_link(link: &str, number: u8, register: &str) -> Vec<u8> {
    const DISABLED: u8 = 0x80;
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
                vec![&Return::new(&MethodCall::new(name("IQST"), vec![&name(register)]))],
            ),
            &Method::new(name("_DIS"), 0, false, vec![&Or::new(&name(register), &name(register), &DISABLED)]),
            &Method::new(
                name("_CRS"),
                0,
                false,
                vec![&Return::new(&MethodCall::new(name("IQCR"), vec![&name(register)]))],
            ),
            &Method::new(
                name("_SRS"),
                1,
                false,
                vec![
                    &CreateDWordField::new(&name("PRRI"), &A0, &5u8),
                    &Store::new(&name(register), &name("PRRI")),
                ],
            ),
        ],
    ))
}

/// The SCI's link, which is wired to interrupt 9.
fn sci_link() -> Vec<u8> {
    encode(&Device::new(
        name("LNKS"),
        vec![
            &Name::new(name("_HID"), &EISAName::new("PNP0C0F")),
            &Name::new(name("_UID"), &4u8),
            &Name::new(name("_PRS"), &ResourceTemplate::new(vec![&LinkInterrupts(&[9])])),
            &Method::new(name("_STA"), 0, false, vec![&Return::new(&HIDDEN)]),
            &Method::new(name("_DIS"), 0, false, vec![]),
            &Method::new(name("_CRS"), 0, false, vec![&Return::new(&name("_PRS"))]),
            &Method::new(name("_SRS"), 1, false, vec![]),
        ],
    ))
}

/// Present if its capabilities register has a vendor and a period of at most 100 ns.
fn hpet() -> Vec<u8> {
    const MOST_FEMTOSECONDS: u32 = 100_000_000;
    const BYTES: u16 = 0x400;
    encode(&Scope::new(
        name("_SB_"),
        vec![&Device::new(
            name("HPET"),
            vec![
                &Name::new(name("_HID"), &EISAName::new("PNP0103")),
                &Name::new(name("_UID"), &ZERO),
                &OpRegion::new(name("HPTM"), OpRegionSpace::SystemMemory, &HPET_ADDRESS, &BYTES),
                &Field::new(
                    name("HPTM"),
                    FieldAccessType::DWord,
                    FieldLockRule::Lock,
                    FieldUpdateRule::Preserve,
                    vec![bits(b"VEND", 32), bits(b"PRD_", 32)],
                ),
                &Method::new(
                    name("_STA"),
                    0,
                    false,
                    vec![
                        &Store::new(&L0, &name("VEND")),
                        &Store::new(&L1, &name("PRD_")),
                        &ShiftRight::new(&L0, &L0, &16u8),
                        &If::new(
                            &either(&Equal::new(&L0, &ZERO), &Equal::new(&L0, &0xffffu16)),
                            vec![&Return::new(&ZERO)],
                        ),
                        &If::new(
                            &either(&Equal::new(&L1, &ZERO), &GreaterThan::new(&L1, &MOST_FEMTOSECONDS)),
                            vec![&Return::new(&ZERO)],
                        ),
                        &Return::new(&0x0fu8),
                    ],
                ),
                &Name::new(
                    name("_CRS"),
                    &ResourceTemplate::new(vec![&Memory32Fixed::new(false, HPET_ADDRESS, BYTES.into())]),
                ),
            ],
        )],
    ))
}

fn general_purpose_events() -> Vec<u8> {
    encode(&Scope::new(name("_GPE"), vec![&Name::new(name("_HID"), &"ACPI0006")]))
}

/// What the host bridge passes to PCI, and the ports of the two blocks that belong to no device.
fn pci_bus_resources(description: &Description, contents: &AcpiContents) -> Vec<u8> {
    const IO_APIC: u32 = 0xfec0_0000;
    const GIB: u64 = 1 << 30;
    const HIGH_WINDOW_BYTES: u64 = 2 * GIB;
    let (below, above) = ram_layout(description.machine_type, description.memory);
    let low = below.min(u64::from(IO_APIC - 1)) as u32;
    let high = FOUR_GIB.saturating_add(above).div_ceil(GIB).saturating_mul(GIB);
    let high_end = high.saturating_add(HIGH_WINDOW_BYTES - 1);
    let cacheable = AddressSpaceCacheable::Cacheable;
    let not_cacheable = AddressSpaceCacheable::NotCacheable;
    let mut windows = vec![
        Encoded::of(&AddressSpace::new_bus_number(0u16, 0xff)),
        Encoded::of(&ports(0xcf8, 1, 8)),
        Encoded::of(&AddressSpace::new_io(0u16, 0xcf7, None)),
        Encoded::of(&AddressSpace::new_io(0xd00u16, 0xffff, None)),
        Encoded::of(&AddressSpace::new_memory(cacheable, true, 0xa_0000u32, 0xb_ffff, None)),
        Encoded::of(&AddressSpace::new_memory(not_cacheable, true, low, IO_APIC - 1, None)),
    ];
    if contents.high_window {
        windows.push(Encoded::of(&AddressSpace::new_memory(cacheable, true, high, high_end, None)));
    }
    let windows = Encoded::of(&ResourceTemplate::new(windows.iter().map(|window| window as _).collect()));
    let block = |device: &str, uid: &'static str, port: u16, count: u8| {
        Encoded::of(&Device::new(
            name(device),
            vec![
                &Name::new(name("_HID"), &"PNP0A06"),
                &Name::new(name("_UID"), &uid),
                &Name::new(name("_STA"), &HIDDEN),
                &Name::new(name("_CRS"), &ResourceTemplate::new(vec![&ports(port, 1, count)])),
            ],
        ))
    };
    encode(&Scope::new(
        name("\\_SB_.PCI0"),
        vec![
            &Name::new(name("_CRS"), &windows),
            &block("GPE0", "GPE0 resources", 0xafe0, 4),
            &block("PHPR", "PCI Hotplug resources", 0xae00, 0x18),
        ],
    ))
}

/// SLP_TYP of PM1a and PM1b for each state.
fn sleep_states() -> Vec<u8> {
    let state = |state: &str, sleep_type: u8| {
        let values = vec![&sleep_type as &dyn Aml, &sleep_type, &ZERO, &ZERO];
        encode(&Name::new(name(state), &Package::new(values)))
    };
    encode(&Root([state("_S3_", 1), state("_S4_", 2), state("_S5_", 0)].concat()))
}

fn firmware_configuration(description: &Description) -> Vec<u8> {
    let length = if description.machine_type.fw_cfg.dma { 12 } else { 2 };
    encode(&Scope::new(
        name("\\_SB_.PCI0"),
        vec![&Device::new(
            name("FWCF"),
            vec![
                &Name::new(name("_HID"), &"QEMU0002"),
                &Name::new(name("_STA"), &HIDDEN),
                &Name::new(name("_CRS"), &ResourceTemplate::new(vec![&ports(0x510, 1, length)])),
            ],
        )],
    ))
}

/// GPE 1: a PCI device has come or shall go.
fn pci_hotplug_event() -> Vec<u8> {
    encode(&Scope::new(
        name("_GPE"),
        vec![&Method::new(
            name("_E01"),
            0,
            false,
            vec![
                &Acquire::new(name("\\_SB_.PCI0.BLCK"), FOR_EVER),
                &MethodCall::new(name("\\_SB_.PCI0.PCNT"), vec![]),
                &Release::new(name("\\_SB_.PCI0.BLCK")),
            ],
        )],
    ))
}
