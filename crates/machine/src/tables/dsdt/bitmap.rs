//! Processors as machine types up to 2.6 have them: a bitmap of those that are there at AF00h, and a
//! package in which ACPI keeps what it last saw.

use acpi_tables::aml::{
    And, BufferData, DeRefOf, Device, EISAName, Else, Equal, FieldAccessType, FieldUpdateRule, If, Index,
    LessThan, Local, Method, MethodCall, Name, Notify, ONE, OpRegion, OpRegionSpace, Package, Path,
    ResourceTemplate, Return, Scope, ShiftRight, SizeOf, Store, While, ZERO,
};

use super::{A0, A1, HIDDEN, L0, L1, L2, L3, bits, field, name, ports};
use crate::tables::{
    Description,
    terms::{Encoded, NOWHERE, Operation, Processor, Word, encode, encode_all, increment, not},
};

const L5: Local = Local(5);
const PORT: u16 = 0xaf00;
/// One bit for each of 256 processors.
const PORTS: u8 = 32;

/// The methods, the bitmap, the processors, and the event that says one has come.
pub(super) fn processors(description: &Description) -> Vec<u8> {
    let cpus = description.cpus.min(255) as u8;
    let mut notify = Vec::new();
    for cpu in 0..cpus {
        notify.extend(encode(&If::new(&Equal::new(&A0, &cpu), vec![&Notify::new(&cpu_name(cpu), &A1)])));
    }
    let processors: Vec<u8> = (0..cpus).flat_map(processor).collect();
    let present = (0..cpus).map(|_| &ONE as &dyn acpi_tables::Aml).collect();
    encode_all(&[
        &Scope::new(
            name("_SB_"),
            vec![
                &Encoded(apic_entry()),
                &Encoded(status()),
                &Method::new(name("CPEJ"), 2, false, vec![&Operation(0x5b, vec![&Word(&[0x22]), &200u8])]),
                &Encoded(scan()),
                &Encoded(registers()),
                &Encoded(processors),
                &Method::new(name("NTFY"), 2, false, vec![&Encoded(notify)]),
                &Name::new(name("CPON"), &Package::new(present)),
            ],
        ),
        &Method::new(name("\\_GPE._E02"), 0, false, vec![&MethodCall::new(name("\\_SB_.PRSC"), vec![])]),
    ])
}

/// `CP00`, `CP01`…
fn cpu_name(cpu: u8) -> Path {
    name(&format!("CP{cpu:02X}"))
}

/// What ACPI last saw of the processor `index` names.
fn last_seen(index: &dyn acpi_tables::Aml) -> Encoded {
    Encoded::of(&DeRefOf::new(&Index::new(&NOWHERE, &name("CPON"), index)))
}

/// `CPMA (APIC id, processor)`: the processor's entry in the APIC table.
fn apic_entry() -> Vec<u8> {
    let entry = BufferData::new(vec![0, 8, 0, 0, 0, 0, 0, 0]);
    let put = |place: &u8, value: &dyn acpi_tables::Aml| {
        Encoded::of(&Store::new(&Index::new(&NOWHERE, &L1, place), value))
    };
    encode(&Method::new(
        name("CPMA"),
        2,
        false,
        vec![
            &Store::new(&L0, &last_seen(&A0)),
            &Store::new(&L1, &entry),
            &put(&2, &A1),
            &put(&3, &A0),
            &put(&4, &L0),
            &Return::new(&L1),
        ],
    ))
}

/// `CPST (processor)`: what `_STA` says.
fn status() -> Vec<u8> {
    encode(&Method::new(
        name("CPST"),
        1,
        false,
        vec![
            &Store::new(&L0, &last_seen(&A0)),
            &If::new(&L0, vec![&Return::new(&0x0fu8)]),
            &Else::new(vec![&Return::new(&ZERO)]),
        ],
    ))
}

/// `PRSC`: compares the bitmap with the package and tells the processors that differ.
fn scan() -> Vec<u8> {
    const INSERT: u8 = 1;
    const EJECT: u8 = 3;
    let tell = |event: &u8| Encoded::of(&MethodCall::new(name("NTFY"), vec![&L0, event]));
    let changed = [
        Encoded::of(&Store::new(&Index::new(&NOWHERE, &name("CPON"), &L0), &L3)),
        Encoded::of(&If::new(&Equal::new(&L3, &ONE), vec![&tell(&INSERT)])),
        Encoded::of(&Else::new(vec![&tell(&EJECT)])),
    ];
    let byte = ShiftRight::new(&NOWHERE, &L0, &3u8);
    let next = encode_all(&[
        &Store::new(&L1, &last_seen(&L0)),
        &If::new(&And::new(&NOWHERE, &L0, &7u8), vec![&ShiftRight::new(&L2, &L2, &ONE)]),
        &Else::new(vec![&Store::new(&L2, &DeRefOf::new(&Index::new(&NOWHERE, &L5, &byte)))]),
        &Store::new(&L3, &And::new(&NOWHERE, &L2, &ONE)),
        &If::new(&not(&Equal::new(&L1, &L3)), changed.iter().map(|term| term as _).collect()),
        &increment(&L0),
    ]);
    encode(&Method::new(
        name("PRSC"),
        0,
        false,
        vec![
            &Store::new(&L5, &name("PRS_")),
            &Store::new(&L2, &ZERO),
            &Store::new(&L0, &ZERO),
            &While::new(&LessThan::new(&L0, &SizeOf::new(&name("CPON"))), vec![&Encoded(next)]),
        ],
    ))
}

fn registers() -> Vec<u8> {
    encode_all(&[
        &Device::new(
            name("PCI0.PRES"),
            vec![
                &Name::new(name("_HID"), &EISAName::new("PNP0A06")),
                &Name::new(name("_UID"), &"CPU Hotplug resources"),
                &Name::new(name("_STA"), &HIDDEN),
                &Name::new(name("_CRS"), &ResourceTemplate::new(vec![&ports(PORT, 1, PORTS)])),
            ],
        ),
        &OpRegion::new(name("PRST"), OpRegionSpace::SystemIO, &PORT, &PORTS),
        &field("PRST", FieldAccessType::Byte, FieldUpdateRule::Preserve, vec![bits(b"PRS_", 256)]),
    ])
}

fn processor(cpu: u8) -> Vec<u8> {
    let call = |method: &str, operands: Vec<&dyn acpi_tables::Aml>| {
        Encoded::of(&Return::new(&MethodCall::new(name(method), operands)))
    };
    let children = encode_all(&[
        &Method::new(name("_MAT"), 0, false, vec![&call("CPMA", vec![&cpu, &cpu])]),
        &Method::new(name("_STA"), 0, false, vec![&call("CPST", vec![&cpu])]),
        &Method::new(name("_EJ0"), 1, false, vec![&call("CPEJ", vec![&cpu, &A0])]),
    ]);
    encode(&Processor { path: cpu_name(cpu), id: cpu, children })
}
