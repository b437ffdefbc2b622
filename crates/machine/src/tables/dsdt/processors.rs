//! Processors, and how one is told to come or go.

use super::{A0, A1, A2, FOR_EVER, L0, L1, L2, L3, L4, bits, field, name, ports};
use crate::tables::Description;
use crate::tables::acpi::local_apic;
use crate::tables::terms::{
    BREAK, DEBUG, EmptyPackage, Encoded, NOWHERE, Processor, both, encode, encode_all, increment,
};
use acpi_tables::aml::{
    Acquire, BufferData, DeRefOf, Device, EISAName, Else, Equal, FieldAccessType, FieldEntry,
    FieldUpdateRule, If, Index, LessThan, Method, MethodCall, Mutex, Name, Notify, ONE, OpRegion,
    OpRegionSpace, Path, Release, ResourceTemplate, Return, Scope, Store, While, ZERO,
};

const CPU_LOCK: &str = "\\_SB_.PCI0.PRES.CPLK";
const CPU_SELECTOR: &str = "\\_SB_.PCI0.PRES.CSEL";
const CPU_ENABLED: &str = "\\_SB_.PCI0.PRES.CPEN";
const CPU_INSERTED: &str = "\\_SB_.PCI0.PRES.CINS";
const CPU_REMOVED: &str = "\\_SB_.PCI0.PRES.CRMV";
const CPU_EJECT: &str = "\\_SB_.PCI0.PRES.CEJ0";
const CPU_COMMAND: &str = "\\_SB_.PCI0.PRES.CCMD";
const CPU_DATA: &str = "\\_SB_.PCI0.PRES.CDAT";

/// The CPU hot-plug controller at AF00h, the processors, and the event that says one has come
/// (QEMU, `docs/specs/acpi_cpu_hotplug.rst`).
pub(super) fn processors(description: &Description) -> Vec<u8> {
    let cpus = description.cpus.min(255) as u8;
    encode_all(&[
        &Scope::new(name("_SB_"), vec![&Encoded(cpu_hotplug_registers()), &Encoded(cpu_container(cpus))]),
        &Method::new(name("\\_GPE._E02"), 0, false, vec![&MethodCall::new(name("\\_SB_.CPUS.CSCN"), vec![])]),
    ])
}

fn cpu_hotplug_registers() -> Vec<u8> {
    const PORT: u16 = 0xaf00;
    const PORTS: u8 = 12;
    encode(&Device::new(
        name("\\_SB_.PCI0.PRES"),
        vec![
            &Name::new(name("_HID"), &EISAName::new("PNP0A06")),
            &Name::new(name("_UID"), &"CPU Hotplug resources"),
            &Mutex::new(name("CPLK"), 0),
            &Name::new(name("_CRS"), &ResourceTemplate::new(vec![&ports(PORT, 1, PORTS)])),
            &OpRegion::new(name("PRST"), OpRegionSpace::SystemIO, &PORT, &PORTS),
            &field(
                "PRST",
                FieldAccessType::Byte,
                FieldUpdateRule::WriteAsZeroes,
                vec![
                    FieldEntry::Reserved(32),
                    bits(b"CPEN", 1),
                    bits(b"CINS", 1),
                    bits(b"CRMV", 1),
                    bits(b"CEJ0", 1),
                    bits(b"CEJF", 1),
                    FieldEntry::Reserved(3),
                    bits(b"CCMD", 8),
                ],
            ),
            &field(
                "PRST",
                FieldAccessType::DWord,
                FieldUpdateRule::Preserve,
                vec![bits(b"CSEL", 32), FieldEntry::Reserved(32), bits(b"CDAT", 32)],
            ),
            &Method::new(name("_INI"), 0, true, vec![&Store::new(&name("CSEL"), &ZERO)]),
        ],
    ))
}

/// `C000`, `C001`…
fn cpu_name(cpu: u8) -> Path {
    name(&format!("C{cpu:03X}"))
}

fn cpu_container(cpus: u8) -> Vec<u8> {
    let mut notify = Vec::new();
    for cpu in 0..cpus {
        notify.extend(encode(&If::new(&Equal::new(&A0, &cpu), vec![&Notify::new(&cpu_name(cpu), &A1)])));
    }
    let status = encode(&Method::new(
        name("CSTA"),
        1,
        true,
        vec![
            &Acquire::new(name(CPU_LOCK), FOR_EVER),
            &Store::new(&name(CPU_SELECTOR), &A0),
            &Store::new(&L0, &ZERO),
            &If::new(&Equal::new(&name(CPU_ENABLED), &ONE), vec![&Store::new(&L0, &0x0fu8)]),
            &Release::new(name(CPU_LOCK)),
            &Return::new(&L0),
        ],
    ));
    let eject = encode(&Method::new(
        name("CEJ0"),
        1,
        true,
        vec![
            &Acquire::new(name(CPU_LOCK), FOR_EVER),
            &Store::new(&name(CPU_SELECTOR), &A0),
            &Store::new(&name(CPU_EJECT), &ONE),
            &Release::new(name(CPU_LOCK)),
        ],
    ));
    let outcome = encode(&Method::new(
        name("COST"),
        4,
        true,
        vec![
            &Acquire::new(name(CPU_LOCK), FOR_EVER),
            &Store::new(&name(CPU_SELECTOR), &A0),
            &Store::new(&name(CPU_COMMAND), &ONE),
            &Store::new(&name(CPU_DATA), &A1),
            &Store::new(&name(CPU_COMMAND), &2u8),
            &Store::new(&name(CPU_DATA), &A2),
            &Release::new(name(CPU_LOCK)),
        ],
    ));
    let processors: Vec<u8> = (0..cpus).flat_map(processor).collect();
    encode(&Device::new(
        name("\\_SB_.CPUS"),
        vec![
            &Name::new(name("_HID"), &"ACPI0010"),
            &Name::new(name("_CID"), &EISAName::new("PNP0A05")),
            &Method::new(name("CTFY"), 2, false, vec![&Encoded(notify)]),
            &Encoded(status),
            &Encoded(eject),
            &Encoded(cpu_scan(cpus)),
            &Encoded(outcome),
            &Encoded(processors),
        ],
    ))
}

/// `CSCN`: asks the controller which processors have come or shall go, and tells their devices.
/// It gathers those that have come first, at most as many as a package holds, then tells them.
fn cpu_scan(cpus: u8) -> Vec<u8> {
    const INSERT: u8 = 1;
    const EJECT: u8 = 3;
    const ROOM: u8 = 0xff;
    let notify = |event: &u8| Encoded::of(&MethodCall::new(name("CTFY"), vec![&L3, event]));
    let next = encode_all(&[
        &Store::new(&L0, &ZERO),
        &Store::new(&name(CPU_SELECTOR), &L3),
        &Store::new(&name(CPU_COMMAND), &ZERO),
        &If::new(&LessThan::new(&name(CPU_DATA), &L3), vec![&BREAK]),
        &If::new(&Equal::new(&L1, &ROOM), vec![&Store::new(&L4, &ONE), &BREAK]),
        &Store::new(&L3, &name(CPU_DATA)),
        &If::new(
            &Equal::new(&name(CPU_INSERTED), &ONE),
            vec![
                &Store::new(&Index::new(&NOWHERE, &name("CNEW"), &L1), &L3),
                &increment(&L1),
                &Store::new(&L0, &ONE),
            ],
        ),
        &Else::new(vec![&If::new(
            &Equal::new(&name(CPU_REMOVED), &ONE),
            vec![&notify(&EJECT), &Store::new(&name(CPU_REMOVED), &ONE), &Store::new(&L0, &ONE)],
        )]),
        &increment(&L3),
    ]);
    let tell = encode(&While::new(
        &LessThan::new(&L2, &L1),
        vec![
            &Store::new(&L3, &DeRefOf::new(&Index::new(&NOWHERE, &name("CNEW"), &L2))),
            &notify(&INSERT),
            &Store::new(&DEBUG, &L3),
            &Store::new(&name(CPU_SELECTOR), &L3),
            &Store::new(&name(CPU_INSERTED), &ONE),
            &increment(&L2),
        ],
    ));
    encode(&Method::new(
        name("CSCN"),
        0,
        true,
        vec![
            &Acquire::new(name(CPU_LOCK), FOR_EVER),
            &Name::new(name("CNEW"), &EmptyPackage(ROOM)),
            &Store::new(&L3, &ZERO),
            &Store::new(&L4, &ONE),
            &While::new(
                &Equal::new(&L4, &ONE),
                vec![
                    &Store::new(&L4, &ZERO),
                    &Store::new(&L0, &ONE),
                    &Store::new(&L1, &ZERO),
                    &While::new(
                        &both(&Equal::new(&L0, &ONE), &LessThan::new(&L3, &cpus)),
                        vec![&Encoded(next)],
                    ),
                    &Store::new(&L2, &ZERO),
                    &Encoded(tell),
                ],
            ),
            &Release::new(name(CPU_LOCK)),
        ],
    ))
}

/// One processor. The first cannot be ejected.
fn processor(cpu: u8) -> Vec<u8> {
    let mut children = encode_all(&[
        &Method::new(name("_STA"), 0, true, vec![&Return::new(&MethodCall::new(name("CSTA"), vec![&cpu]))]),
        &Name::new(name("_MAT"), &BufferData::new(local_apic(cpu).to_vec())),
    ]);
    if cpu > 0 {
        children.extend(encode(&Method::new(
            name("_EJ0"),
            1,
            false,
            vec![&MethodCall::new(name("CEJ0"), vec![&cpu])],
        )));
    }
    children.extend(encode(&Method::new(
        name("_OST"),
        3,
        true,
        vec![&MethodCall::new(name("COST"), vec![&cpu, &A0, &A1, &A2])],
    )));
    encode(&Processor { path: cpu_name(cpu), id: cpu, children })
}
