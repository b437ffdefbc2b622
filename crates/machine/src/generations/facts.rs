//! A generation in words: its fields, and for each reset and power path who takes part.

use warmboot_chipset::port92::ResetBit;

use super::{Access, Generation, PamModes, Suspend};
use crate::reset::{Chips, Processor, ResetPath, ResetRow};

/// One row of a generation's reset table, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathFacts {
    /// The path's name; for `--reset` where it can be pulled from outside.
    pub path: &'static str,
    /// How the guest or the host pulls it.
    pub pulled_by: String,
    /// What the processor takes.
    pub processor: &'static str,
    /// Which chips are reset.
    pub chips: &'static str,
    /// PAM and SMRAM.
    pub pam_smram: &'static str,
    /// CMOS shutdown status, register 0Fh.
    pub cmos_0f: &'static str,
    /// The A20 gate.
    pub a20: &'static str,
    /// Block pc.ram.
    pub pc_ram: &'static str,
    /// Block pc.bios.
    pub pc_bios: &'static str,
    /// Block pc.rom.
    pub pc_rom: &'static str,
    /// Power afterwards.
    pub power: &'static str,
}

const KEPT: &str = "kept";
const ABSENT: &str = "nothing";

impl PathFacts {
    /// Column titles and this row's values, in the order of the columns.
    #[must_use]
    pub fn columns(&self) -> [(&'static str, &str); 11] {
        [
            ("path", self.path),
            ("pulled by", &self.pulled_by),
            ("processor", self.processor),
            ("chips", self.chips),
            ("PAM, SMRAM", self.pam_smram),
            ("CMOS 0Fh", self.cmos_0f),
            ("A20", self.a20),
            ("pc.ram", self.pc_ram),
            ("pc.bios", self.pc_bios),
            ("pc.rom", self.pc_rom),
            ("power", self.power),
        ]
    }

    /// A path on which nothing is reset.
    fn untouched(path: &'static str, pulled_by: &str, power: &'static str) -> PathFacts {
        PathFacts {
            path,
            pulled_by: pulled_by.to_owned(),
            processor: KEPT,
            chips: "none",
            pam_smram: KEPT,
            cmos_0f: KEPT,
            a20: KEPT,
            pc_ram: KEPT,
            pc_bios: KEPT,
            pc_rom: KEPT,
            power,
        }
    }
}

impl Generation {
    /// Every field but name and sentence, with its value in words.
    #[must_use]
    pub fn facts(&self) -> Vec<(&'static str, String)> {
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
        let [mode1, mode2] = pam_words(pam);
        vec![
            ("PAM mode 1 (RE)", mode1.to_owned()),
            ("PAM mode 2 (WE)", mode2.to_owned()),
            ("hard reset clears PAM, SMRAM", yes(pam_reset)),
            ("pc.ram has a hole at A0000-FFFFF", yes(ram_hole)),
            ("SMRAM works", yes(smram)),
            ("D_LCK locks SMRAM", yes(smram_lock)),
            ("SMI reaches the processor", yes(smi)),
            ("PIIX4 5Bh after reset", if smm_marked_initialised { "02h" } else { "00h" }.to_owned()),
            ("PIIX4 PM ports after reset", if pm_ports_survive_reset { "stay" } else { "off" }.to_owned()),
            ("pc.bios at E0000", access(bios_low)),
            ("pc.bios below 4 GiB", access(bios_high)),
            ("pristine copy below 4 GiB", yes(self.pristine_copy())),
            ("reset restores a writable pc.bios", yes(bios_restored)),
            ("pc.rom at C0000", access(option_roms)),
            ("ROMs of ISA cards answer there", yes(rom_sockets)),
            ("ports 402h and E9h read", format!("{debug_port_reads:02X}h")),
            ("memory where nothing answers reads", format!("{unmapped_reads:02X}h")),
            ("LINT0 after reset", if lint0_ext_int { "ExtINT" } else { "masked" }.to_owned()),
            ("CPUID tells of a hypervisor", format!("{hypervisor:?}")),
            ("an unknown MSR", if unknown_msrs_ignored { "reads 0" } else { "#GP" }.to_owned()),
            ("microcode has a revision", yes(microcode_revision)),
            ("port 92h bit 0 resets on", bit(Some(port_92_reset))),
            ("port CF9h bit 2 resets on", bit(port_cf9_reset)),
            ("\"Shutdown\" to port 8900h", if shutdown_port { "powers off" } else { ABSENT }.to_owned()),
            ("reset clears CMOS 0Fh", yes(reset_clears_shutdown_status)),
            ("S3 writes FEh to CMOS 0Fh", yes(suspend_marks_cmos)),
            (
                "S3 suspend",
                match suspend {
                    Suspend::Waits => "waits to be woken",
                    Suspend::ResumesAtOnce => "resumes at once",
                }
                .to_owned(),
            ),
            ("shadow BIOS after migration", yes(post_load_shadow_bios)),
        ]
    }

    /// What each reset and power path does, power-on first.
    #[must_use]
    pub fn path_facts(&self) -> Vec<PathFacts> {
        let mut rows = vec![PathFacts {
            path: "power-on",
            pulled_by: "power".to_owned(),
            processor: "RESET",
            chips: "all, and batteries' contents",
            pam_smram: "00, 02h",
            cmos_0f: "00h",
            a20: "on",
            pc_ram: "zero",
            pc_bios: "image",
            pc_rom: "zero",
            power: "on",
        }];
        rows.extend(ResetPath::ALL.iter().map(|(name, path)| self.reset_facts(name, *path)));
        let off =
            |path, pulled_by| PathFacts { pc_ram: "lost", ..PathFacts::untouched(path, pulled_by, "off") };
        rows.push(off("SLP_EN type 0", "2000h to PM1a_CNT"));
        rows.push(match self.suspend {
            Suspend::Waits => PathFacts {
                cmos_0f: if self.suspend_marks_cmos { "FEh" } else { KEPT },
                ..PathFacts::untouched("SLP_EN type 1", "2400h to PM1a_CNT", "suspended")
            },
            Suspend::ResumesAtOnce => PathFacts {
                path: "SLP_EN type 1",
                pulled_by: "2400h to PM1a_CNT".to_owned(),
                ..self.reset_facts("s3-resume", ResetPath::S3Resume)
            },
        });
        rows.push(if self.shutdown_port {
            off("APM shutdown", "\"Shutdown\" to port 8900h")
        } else {
            PathFacts::untouched("APM shutdown", ABSENT, "on")
        });
        rows.push(PathFacts::untouched("power-button", "host: PWRBTN_STS, SCI if PWRBTN_EN", "on"));
        rows
    }

    fn reset_facts(&self, name: &'static str, path: ResetPath) -> PathFacts {
        let ResetRow { processor, chips } = self.reset(path);
        let all = chips == Chips::All;
        let bit = |port: &str, value: &str, how: Option<ResetBit>| match how {
            None | Some(ResetBit::Ignored) => ABSENT.to_owned(),
            Some(ResetBit::Level) => format!("{value} to port {port}"),
            Some(ResetBit::Edge) => format!("{value} to port {port}, after a 0"),
        };
        PathFacts {
            path: name,
            pulled_by: match path {
                ResetPath::System => "host".to_owned(),
                ResetPath::Keyboard => "FEh to port 64h".to_owned(),
                ResetPath::Port92 => bit("92h", "bit 0", Some(self.port_92_reset)),
                ResetPath::Cf9 => bit("CF9h", "06h", self.port_cf9_reset),
                ResetPath::Cf9Soft => bit("CF9h", "04h", self.port_cf9_reset),
                ResetPath::TripleFault => "shutdown cycle".to_owned(),
                ResetPath::Init => "host".to_owned(),
                ResetPath::S3Resume if self.suspend == Suspend::ResumesAtOnce => "itself".to_owned(),
                ResetPath::S3Resume => "host, when suspended".to_owned(),
            },
            processor: match processor {
                Processor::Reset => "RESET",
                Processor::Init => "INIT",
            },
            chips: match (chips, processor) {
                (Chips::All, _) => "all",
                (Chips::None, Processor::Init) => "apic",
                (Chips::None, Processor::Reset) => "none",
            },
            pam_smram: if all && self.pam_reset { "00, 02h" } else { KEPT },
            cmos_0f: match all && self.reset_clears_shutdown_status {
                true => "00h unless FEh",
                false => KEPT,
            },
            a20: if all { "on" } else { KEPT },
            pc_ram: KEPT,
            pc_bios: match (all && self.bios_restored, self.bios_writable()) {
                (true, true) => "image",
                (true, false) => "image (cannot change)",
                (false, _) => KEPT,
            },
            pc_rom: KEPT,
            power: "on",
        }
    }
}

fn pam_words(pam: PamModes) -> [&'static str; 2] {
    let [dropped, nothing] = ["reads RAM, drops writes", "shows nothing"];
    match pam {
        PamModes::Inert => [nothing, nothing],
        PamModes::WriteOnlyIsPci => [dropped, "PCI"],
        PamModes::WriteOnlyIsRam => [dropped, "RAM"],
        PamModes::Separate => ["reads RAM, writes PCI", "reads PCI, writes RAM"],
    }
}

fn access(access: Access) -> String {
    match access {
        Access::ReadOnly => "read-only",
        Access::ReadWrite => "read-write",
    }
    .to_owned()
}

fn bit(how: Option<ResetBit>) -> String {
    match how {
        None => "no such port",
        Some(ResetBit::Ignored) => "ignored",
        Some(ResetBit::Level) => "level",
        Some(ResetBit::Edge) => "edge 0 to 1",
    }
    .to_owned()
}

fn yes(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}
