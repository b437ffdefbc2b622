//! A firmware that asks the machine what it is: everything in which emulator generations differ and
//! that a program can find out, one line each on COM1 and the debug port.
//!
//! First what ports, CPUID, the local APIC, memory, PAM, SMRAM and an SMI do; then it changes its own bytes in both
//! places of the BIOS, the CMOS shutdown status and the power-management ports, resets the machine by
//! port 92h, by port CF9h hard and soft, and by the keyboard controller, and says after each what it
//! finds; at last it asks port 8900h to switch off. A stage counter in low memory leads it on. Proves that each generation is what its table
//! says; nothing tells it which one it is on.

use iced_x86::code_asm::*;

use crate::{
    Kind, TestRom,
    assemble::{Block, Built, build},
    real_mode::{BIOS, big_real, say, say_ax, say_word, segments, serial, write_descriptors, write_print},
};

pub(crate) const ROM: TestRom = TestRom {
    name: "facts",
    about: "asks ports, CPUID, PAM, SMRAM, SMI, BIOS and four kinds of reset what they do, and says it on COM1",
    kind: Kind::Firmware,
    build: || {
        build(0x10000, 0xff, |image| {
            image.texts_at(0xc000, 0xc000);
            image.code(16, 0xe000, 0xe000, firmware)?;
            image.reset_vector("start")
        })
    },
    symbols: None,
};

/// In segment 0: a mark, the stage, CR0 as the reset left it, and what the SMI handler writes: that it
/// ran, and the byte it saw at A0000.
const MARK: u32 = 0x500;
const STAGE: u32 = 0x504;
const CR0: u32 = 0x506;
const SMI_RAN: u32 = 0x510;
const SMI_SAW: u32 = 0x512;
/// The model-specific register with the microcode's revision.
const IA32_BIOS_SIGN_ID: u32 = 0x8b;
/// The exception's vector.
const GENERAL_PROTECTION: u32 = 13;
/// Local vector table, LINT0 (Intel SDM vol. 3A, 10.5.1).
const LINT0: u32 = 0xfee0_0350;
const MARK_VALUE: u32 = 0x5a3c_96e1;

/// Two bytes of the image that nothing uses, and ones: below 1 MiB and below 4 GiB.
const LOW: u32 = 0xf_8000;
const HIGH: u32 = 0xffff_8001;

/// The host bridge's identity, and that of Q35's; its SMRAM and ESMRAMC registers (316966-002, 5.1.27
/// and 5.1.28).
const HOST_BRIDGE: u32 = 0x8000_0000;
const MCH: u32 = 0x29c0_8086;
const MCH_SMRAM: u32 = 0x8000_009d;
const MCH_ESMRAMC: u32 = 0x8000_009e;

/// Configuration addresses: the 82441FX' PAM register of D0000-D7FFF and its SMRAM register (82441FX
/// data sheet 3.2.17 and 3.2.21), and the PIIX4's APMC_EN, PMBASE and PMREGMISC (82371AB, 7.1 and 7.2).
const PAM3: u32 = 0x8000_005c;
const SMRAM: u32 = 0x8000_0072;
const DEVACTB_3: u32 = 0x8000_0b5b;
const PMBASE: u32 = 0x8000_0b40;
const PMREGMISC: u32 = 0x8000_0b80;
/// Where the power-management ports are put, and of them PM1a_CNT.
const PM_PORTS: u32 = 0x600;
const PM1A_CNT: u32 = PM_PORTS + 4;
/// The SMI handler's place with SMBASE as reset leaves it.
const SMI_HANDLER: u32 = 0x3_8000;

fn firmware(b: &mut Block) -> Built {
    b.name("start")?;
    b.mov(ebp, cr0)?;
    segments(b)?;
    b.shr(ebp, 16)?;
    b.mov(word_ptr(CR0), bp)?;
    serial(b)?;
    big_real(b)?;
    let (again, next) = (b.create_label(), b.target("next"));
    b.cmp(dword_ptr(MARK), MARK_VALUE as i32)?;
    b.je(again)?;
    b.mov(dword_ptr(MARK), MARK_VALUE)?;
    b.mov(word_ptr(STAGE), 0u32)?;
    say(b, "facts\n")?;
    ports(b)?;
    memory(b)?;
    let other_bridge = b.create_label();
    select(b, HOST_BRIDGE)?;
    b.in_(eax, dx)?;
    b.cmp(eax, MCH as i32)?;
    b.jne(other_bridge)?;
    t_seg(b)?;
    b.jmp(next)?;
    b.place(other_bridge)?;
    pam(b)?;
    smram(b)?;
    interrupt(b)?;
    b.jmp(next)?;
    b.place(again)?;
    after_reset(b)?;
    b.jmp(next)?;
    stages(b)?;
    write_print(b)?;
    smi_handler(b)?;
    fault_handler(b)?;
    write_descriptors(b)
}

/// Selects a byte of configuration space; its port is in DX. Changes EAX.
fn select(b: &mut Block, address: u32) -> Built {
    b.mov(eax, address & !3)?;
    b.mov(dx, 0xcf8u32)?;
    b.out(dx, eax)?;
    Ok(b.mov(dx, 0xcfc + (address & 3))?)
}

fn set_config(b: &mut Block, address: u32, value: u32) -> Built {
    select(b, address)?;
    b.mov(al, value)?;
    Ok(b.out(dx, al)?)
}

/// Says a byte of configuration space.
fn say_config(b: &mut Block, text: &str, address: u32) -> Built {
    say(b, text)?;
    select(b, address)?;
    b.in_(al, dx)?;
    say_al(b)
}

/// Prints AL as a word. Changes what [`say_ax`] changes.
fn say_al(b: &mut Block) -> Built {
    b.xor(ah, ah)?;
    say_ax(b)
}

fn set_byte(b: &mut Block, address: u32, value: u32) -> Built {
    b.mov(esi, address)?;
    Ok(b.mov(byte_ptr(esi), value)?)
}

/// Says the byte at a linear address.
fn say_byte(b: &mut Block, text: &str, address: u32) -> Built {
    say(b, text)?;
    b.mov(esi, address)?;
    b.mov(al, byte_ptr(esi))?;
    say_al(b)
}

fn ports(b: &mut Block) -> Built {
    for (text, port) in [("port 402h ", 0x402u32), (", port 92h ", 0x92)] {
        say(b, text)?;
        b.mov(dx, port)?;
        b.in_(al, dx)?;
        say_al(b)?;
    }
    say(b, "\nCPUID 1 ECX high ")?;
    b.mov(eax, 1u32)?;
    b.cpuid()?;
    b.mov(eax, ecx)?;
    b.shr(eax, 16)?;
    say_ax(b)?;
    say_msrs(b)?;
    say(b, "\nCPUID 40000000h EBX ")?;
    b.mov(eax, 0x4000_0000u32)?;
    b.cpuid()?;
    b.mov(edi, ebx)?;
    b.mov(eax, edi)?;
    b.shr(eax, 16)?;
    say_ax(b)?;
    b.mov(eax, edi)?;
    say_ax(b)?;
    say_lint0(b, "\nLINT0 ")?;
    say(b, "\n")
}

/// Reads an MSR that is no model's here: IA32_PERFEVTSEL0. FFFFh is a #GP. Then what the microcode's revision is.
fn say_msrs(b: &mut Block) -> Built {
    say(b, ", MSR 186h ")?;
    let handler = b.address("fault");
    b.mov(word_ptr(GENERAL_PROTECTION * 4), handler)?;
    b.mov(word_ptr(GENERAL_PROTECTION * 4 + 2), u32::from(BIOS))?;
    b.mov(ecx, 0x186u32)?;
    b.rdmsr()?;
    say_ax(b)?;
    say(b, ", microcode ")?;
    b.mov(ecx, IA32_BIOS_SIGN_ID)?;
    b.rdmsr()?;
    say_ax(b)
}

/// Goes on behind the RDMSR.
fn fault_handler(b: &mut Block) -> Built {
    b.name("fault")?;
    b.mov(bp, sp)?;
    b.add(word_ptr(bp), 2)?;
    b.mov(eax, 0xffffu32)?;
    Ok(b.iret()?)
}

/// Says the local APIC's LINT0 register. Where there is no APIC, that is what nobody answers.
fn say_lint0(b: &mut Block, text: &str) -> Built {
    say(b, text)?;
    for shift in [16u32, 0] {
        b.mov(esi, LINT0)?;
        b.mov(eax, dword_ptr(esi))?;
        b.shr(eax, shift)?;
        say_ax(b)?;
    }
    Ok(())
}

/// Memory that nobody answers, and the ROMs' bytes, which are then as they were.
fn memory(b: &mut Block) -> Built {
    say_byte(b, "E0000000h ", 0xe000_0000)?;
    say_byte(b, "\nBIOS low ", LOW)?;
    set_byte(b, LOW, 0x5a)?;
    say_byte(b, ", written ", LOW)?;
    say_byte(b, ", high ", HIGH - 1)?;
    say_byte(b, "\nBIOS high ", HIGH)?;
    set_byte(b, HIGH, 0xa5)?;
    say_byte(b, ", written ", HIGH)?;
    say_byte(b, ", low ", LOW + 1)?;
    say(b, "\n")
}

/// D0000-D3FFF in each of its modes: RAM gets 52h through mode 3, what lies on PCI gets 50h through
/// mode 0; 11h and 22h are written through modes 1 and 2, and then both are looked at again.
fn pam(b: &mut Block) -> Built {
    const PLACE: u32 = 0xd_0000;
    let set_mode = |b: &mut Block, mode: u32| set_config(b, PAM3, mode);
    set_mode(b, 3)?;
    set_byte(b, PLACE, 0x52)?;
    set_mode(b, 0)?;
    set_byte(b, PLACE, 0x50)?;
    say_byte(b, "PAM mode 0 ", PLACE)?;
    set_mode(b, 1)?;
    say_byte(b, ", mode 1 ", PLACE)?;
    set_byte(b, PLACE, 0x11)?;
    set_mode(b, 2)?;
    say_byte(b, ", mode 2 ", PLACE)?;
    set_byte(b, PLACE, 0x22)?;
    set_mode(b, 0)?;
    say_byte(b, ", then PCI ", PLACE)?;
    set_mode(b, 3)?;
    say_byte(b, ", RAM ", PLACE)?;
    say(b, "\n")
}

/// A0000 with D_OPEN, then without; then whether D_LCK keeps D_OPEN from being set.
fn smram(b: &mut Block) -> Built {
    const PLACE: u32 = 0xa_0000;
    const CLOSED: u32 = 0x0a;
    const OPEN: u32 = 0x4a;
    const LOCKED: u32 = 0x1a;
    set_config(b, SMRAM, OPEN)?;
    set_byte(b, PLACE, 0x33)?;
    say_byte(b, "A0000h open ", PLACE)?;
    set_config(b, SMRAM, CLOSED)?;
    say_byte(b, ", closed ", PLACE)?;
    set_config(b, SMRAM, LOCKED)?;
    set_config(b, SMRAM, OPEN)?;
    say_config(b, ", SMRAM locked ", SMRAM)?;
    say(b, "\n")
}

/// The first byte of Q35's T-SEG, 1 MiB below the top of 16 MiB, before and after T_EN.
fn t_seg(b: &mut Block) -> Built {
    const PLACE: u32 = 0xf0_0000;
    set_byte(b, PLACE, 0x33)?;
    say_byte(b, "T-SEG closed ", PLACE)?;
    set_config(b, MCH_SMRAM, 0x0a)?;
    set_config(b, MCH_ESMRAMC, 0x39)?;
    say_byte(b, ", enabled ", PLACE)?;
    say(b, "\n")
}

/// An SMI by port B2h, as APMC_EN has it.
fn interrupt(b: &mut Block) -> Built {
    say_config(b, "5Bh ", DEVACTB_3)?;
    let handler = b.address("smi-handler");
    b.mov(esi, u32::from(BIOS) * 16 + handler)?;
    b.mov(edi, SMI_HANDLER)?;
    b.mov(cx, 16u32)?;
    let next = b.here()?;
    b.mov(ax, word_ptr(esi))?;
    b.mov(word_ptr(edi), ax)?;
    b.add(esi, 2)?;
    b.add(edi, 2)?;
    b.loop_(next)?;
    b.mov(dword_ptr(SMI_RAN), 0u32)?;
    set_config(b, DEVACTB_3, 2)?;
    b.out(0xb2, al)?;
    say(b, ", SMI ")?;
    say_word(b, SMI_RAN)?;
    say(b, ", saw ")?;
    say_word(b, SMI_SAW)?;
    say(b, "\n")
}

fn smi_handler(b: &mut Block) -> Built {
    b.name("smi-handler")?;
    b.mov(byte_ptr(SMI_RAN), 1u32)?;
    b.mov(ax, 0xa000u32)?;
    b.mov(ds, ax)?;
    b.mov(al, byte_ptr(0u32))?;
    b.xor(cx, cx)?;
    b.mov(ds, cx)?;
    b.mov(byte_ptr(SMI_SAW), al)?;
    b.rsm()?;
    Ok(b.db(&[0; 16])?)
}

/// What a reset left: CR0's high half (CD and NW after RESET#), the CMOS shutdown status, both bytes
/// of the BIOS, PAM, SMRAM and LINT0, and the power-management ports.
fn after_reset(b: &mut Block) -> Built {
    say(b, "reset: CR0 ")?;
    say_word(b, CR0)?;
    say(b, ", CMOS 0Fh ")?;
    b.mov(al, 0x8fu32)?;
    b.out(0x70, al)?;
    b.in_(al, 0x71)?;
    say_al(b)?;
    say_byte(b, ", BIOS low ", LOW)?;
    say_byte(b, ", high ", HIGH)?;
    say_config(b, ", PAM ", PAM3)?;
    say_config(b, ", SMRAM ", SMRAM)?;
    say_lint0(b, ", LINT0 ")?;
    say(b, ", PM1a_CNT ")?;
    b.mov(dx, PM1A_CNT)?;
    b.in_(ax, dx)?;
    say_ax(b)?;
    say(b, "\n")
}

/// The resets, one after another; a port that does nothing leads to the next at once.
fn stages(b: &mut Block) -> Built {
    /// A name, and the port with what is written to it.
    const RESETS: [(&str, u32, &[u32]); 4] = [
        ("port 92h", 0x92, &[2, 3]),
        ("port CF9h hard", 0xcf9, &[2, 6]),
        ("port CF9h soft", 0xcf9, &[0, 4]),
        ("port 64h", 0x64, &[0xfe]),
    ];
    b.name("next")?;
    let next = b.target("next");
    b.inc(word_ptr(STAGE))?;
    prepare(b)?;
    for (stage, (name, port, values)) in RESETS.into_iter().enumerate() {
        let other = b.create_label();
        b.cmp(word_ptr(STAGE), stage as i32 + 1)?;
        b.jne(other)?;
        say(b, name)?;
        say(b, "\n")?;
        b.mov(dx, port)?;
        for value in values {
            b.mov(al, *value)?;
            b.out(dx, al)?;
        }
        say(b, "does nothing\n")?;
        b.jmp(next)?;
        b.place(other)?;
    }
    shut_down(b)?;
    say(b, "done\n")?;
    let stop = b.here()?;
    b.hlt()?;
    Ok(b.jmp(stop)?)
}

/// Asks port 8900h to switch the machine off, as a BIOS of 2012 does.
fn shut_down(b: &mut Block) -> Built {
    say(b, "port 8900h\n")?;
    b.mov(dx, 0x8900u32)?;
    for character in b"Shutdown" {
        b.mov(al, u32::from(*character))?;
        b.out(dx, al)?;
    }
    say(b, "does nothing\n")
}

/// Leaves traces for [`after_reset`] to find.
fn prepare(b: &mut Block) -> Built {
    b.mov(eax, cr0)?;
    b.and(eax, 0x9fff_ffffu32 as i32)?;
    b.mov(cr0, eax)?;
    set_byte(b, LOW, 0x5a)?;
    set_byte(b, HIGH, 0xa5)?;
    set_config(b, PAM3, 0x03)?;
    // Masked, since the APIC is not enabled by its spurious-interrupt register.
    b.mov(esi, LINT0)?;
    b.mov(dword_ptr(esi), 0x1_0700u32)?;
    for (address, value) in [(PMBASE + 1, PM_PORTS >> 8), (PMREGMISC, 1)] {
        set_config(b, address, value)?;
    }
    b.mov(al, 0x8fu32)?;
    b.out(0x70, al)?;
    b.mov(al, 0x42u32)?;
    Ok(b.out(0x71, al)?)
}
